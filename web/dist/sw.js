// Keeps the page for when there is no network: what is edited offline is kept in the browser, and so is what shows it.
//
// The network comes first for everything that can change; a binary's upgrade shows at the next reload.

const CACHE = 'ydash-e8d38f214bf522f2'
const FILES = ['/', '/app.css', '/app.js', '/chunk-2HGFGFRF.js', '/chunk-3CB6LK3M.js', '/chunk-3FENFJS6.js', '/chunk-3RFSWLUK.js', '/chunk-5D46ZAGP.js', '/chunk-5EK5BYPF.js', '/chunk-5GYBKG7M.js', '/chunk-AOI3CSX3.js', '/chunk-BI7C2CR6.js', '/chunk-CRDO62EA.js', '/chunk-CWPXUQLF.js', '/chunk-DDKQY77P.js', '/chunk-DQDVRNWC.js', '/chunk-DWTUB7FR.js', '/chunk-E5OFWQBN.js', '/chunk-E7GMD4FR.js', '/chunk-FIB7YZC6.js', '/chunk-G4UALOKK.js', '/chunk-GOAF4RNB.js', '/chunk-II6RK6D7.js', '/chunk-IJRNNGXQ.js', '/chunk-ISZVT2MD.js', '/chunk-J4XNGX5N.js', '/chunk-JQXQTXDV.js', '/chunk-K3IZHTNL.js', '/chunk-LQJMTI2J.js', '/chunk-LWUMNBOO.js', '/chunk-NSTINGYU.js', '/chunk-OA344ZHI.js', '/chunk-OF74D74G.js', '/chunk-OKETGDR5.js', '/chunk-PK7AUXOU.js', '/chunk-PMK5HX2A.js', '/chunk-PXWO2EEC.js', '/chunk-R73AEZNG.js', '/chunk-S56OHIPH.js', '/chunk-SNTFZZ75.js', '/chunk-SQE76S5B.js', '/chunk-TWXBBHZC.js', '/chunk-UHATFADS.js', '/chunk-VGQAYM34.js', '/chunk-VH2U33M5.js', '/chunk-XEFJI7VA.js', '/chunk-YRRNN7FM.js', '/chunk-inter-latin-wght-normal-NRMW37G5.woff2', '/icon.svg']

addEventListener('install', event => {
  event.waitUntil(caches.open(CACHE).then(cache => cache.addAll(FILES)).then(() => skipWaiting()))
})

addEventListener('activate', event => {
  const isOld = name => name.startsWith('ydash-') && name !== CACHE
  event.waitUntil(caches.keys().then(names => Promise.all(names.filter(isOld).map(name => caches.delete(name)))).then(() => clients.claim()))
})

addEventListener('fetch', event => {
  const { request } = event
  const { origin, pathname } = new URL(request.url)
  if (request.method !== 'GET' || origin !== location.origin) return
  const isPage = request.mode === 'navigate' && (pathname === '/' || pathname.startsWith('/d/'))
  const path = isPage ? '/' : pathname
  if (!FILES.includes(path)) return
  // Files that are named by their content are the same wherever they come from.
  if (path.startsWith('/chunk-')) event.respondWith(caches.match(path).then(kept => kept ?? fetch(request)))
  else event.respondWith(fetch(request).then(answer => answer.ok ? answer : Promise.reject(new Error(String(answer.status)))).catch(error => caches.match(path).then(kept => kept ?? Promise.reject(error))))
})
