// Keeps the page for when there is no network: what is edited offline is kept in the browser, and so is what shows it.
//
// The network comes first for everything that can change; a binary's upgrade shows at the next reload.

const CACHE = 'ydash-5f1a2d174d88d81a'
const FILES = ['/', '/app.css', '/app.js', '/chunk-3DXLFQFQ.js', '/chunk-3FENFJS6.js', '/chunk-4COL5TAD.js', '/chunk-5D46ZAGP.js', '/chunk-5EK5BYPF.js', '/chunk-5WMGSPQN.js', '/chunk-6KWSQCJD.js', '/chunk-747PE3XE.js', '/chunk-AEMI2V4D.js', '/chunk-AIR7B3JY.js', '/chunk-AOI3CSX3.js', '/chunk-BI7C2CR6.js', '/chunk-CFXCVZ66.js', '/chunk-E5OFWQBN.js', '/chunk-E7GMD4FR.js', '/chunk-FACQZRUG.js', '/chunk-FIB7YZC6.js', '/chunk-FNRYUDLW.js', '/chunk-FSB4RRY2.js', '/chunk-G4UALOKK.js', '/chunk-IJRNNGXQ.js', '/chunk-ISZVT2MD.js', '/chunk-J4XNGX5N.js', '/chunk-J6PKFD6W.js', '/chunk-JOOJCDFF.js', '/chunk-KQI5LVD3.js', '/chunk-L4JVYUJA.js', '/chunk-LVPORALK.js', '/chunk-MJ5QHRO5.js', '/chunk-NJE5DTXV.js', '/chunk-PRLVIXQ5.js', '/chunk-R6MB3BNL.js', '/chunk-R73AEZNG.js', '/chunk-S56OHIPH.js', '/chunk-SKHKFYZQ.js', '/chunk-SQE76S5B.js', '/chunk-TMV34D7T.js', '/chunk-VH2U33M5.js', '/chunk-WFMTZVRX.js', '/chunk-XHDZX2NK.js', '/chunk-YDFH4AIZ.js', '/chunk-ZRRFMNAD.js', '/chunk-inter-latin-wght-normal-NRMW37G5.woff2', '/icon.svg']

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
