import './app.css'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { DashboardProvider } from '@ydash/client/react'
import { App } from './App.js'
import { client, dashboardName } from './session.js'

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <DashboardProvider client={client} id={dashboardName}><App /></DashboardProvider>
  </StrictMode>
)
