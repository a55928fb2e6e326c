import 'uplot/dist/uPlot.min.css'
import './app.css'
import { type ReactNode, StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { DashboardProvider } from '@ydash/client/react'
import { Boundary, BrokenPage } from '../shared/Boundary.js'
import { lazily } from '../shared/lazily.js'
import { App } from './App.js'
import { address, client } from './session.js'

// What has no part in the first paint of a dashboard.
const Home = lazily(() => import('./home/Home.js'))
const Impossible = lazily(() => import('./home/Impossible.js'))

function Page(): ReactNode {
  switch (address.kind) {
    case 'dashboard': return <DashboardProvider client={client} id={address.id}><App /></DashboardProvider>
    case 'impossible': return <Impossible name={address.name} why={address.why} />
    case 'home': return <Home />
  }
}

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <Boundary fallback={error => <BrokenPage error={error} />}><Page /></Boundary>
  </StrictMode>
)

// The page comes again after a reload without a network, as what was edited does.
if ('serviceWorker' in navigator) navigator.serviceWorker.register('/sw.js').catch(() => { /* not on plain http beyond this machine */ })
