import './app.css'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { DashboardProvider } from '@ydash/client/react'
import { Boundary, BrokenPage } from '../shared/Boundary.js'
import { App } from './App.js'
import { client, dashboardName } from './session.js'

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <Boundary fallback={error => <BrokenPage error={error} />}>
      <DashboardProvider client={client} id={dashboardName}><App /></DashboardProvider>
    </Boundary>
  </StrictMode>
)
