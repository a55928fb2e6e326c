// Goals that a team keeps an eye on: React and the hooks of @ydash/client.

import { createClient } from '@ydash/client'
import { DashboardProvider } from '@ydash/client/react'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { me } from '../me.js'
import { Board } from './Board.js'
import { Filters } from './Filters.js'
import { Header } from './Header.js'
import '../look.css'
import './style.css'

const client = createClient({ url: 'ws://127.0.0.1:1234', user: me })

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <DashboardProvider client={client} id='goals'>
      <Header />
      <Filters />
      <Board />
    </DashboardProvider>
  </StrictMode>
)
