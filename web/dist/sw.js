// Keeps the page for when there is no network: what is edited offline is kept in the browser, and so is what shows it.
//
// The network comes first for everything that can change; a binary's upgrade shows at the next reload.

const CACHE = 'ydash-b6b613d65d8550c1'
const FILES = ['/', '/app.css', '/app.js', '/chunk-3FENFJS6.js', '/chunk-4NIZ5FDM.js', '/chunk-5D46ZAGP.js', '/chunk-5EK5BYPF.js', '/chunk-6KWSQCJD.js', '/chunk-AOI3CSX3.js', '/chunk-AQHNRANV.js', '/chunk-BI7C2CR6.js', '/chunk-DAFHS5VX.js', '/chunk-E5OFWQBN.js', '/chunk-E7GMD4FR.js', '/chunk-F2DOWDOF.js', '/chunk-F4JK5U4B.js', '/chunk-F7W3Z3ZY.js', '/chunk-FACQZRUG.js', '/chunk-FCPF7HQA.js', '/chunk-FIB7YZC6.js', '/chunk-FTIWAY6D.js', '/chunk-GBOK5V5W.js', '/chunk-GD5KN77G.js', '/chunk-HFTXW3PE.js', '/chunk-HSM23PFR.js', '/chunk-IJRNNGXQ.js', '/chunk-IRBCSYIU.js', '/chunk-ISZVT2MD.js', '/chunk-J4XNGX5N.js', '/chunk-J6PKFD6W.js', '/chunk-MJ5QHRO5.js', '/chunk-NCJF2KES.js', '/chunk-OM3QYVRT.js', '/chunk-PRLVIXQ5.js', '/chunk-QRUWSMPO.js', '/chunk-R73AEZNG.js', '/chunk-S56OHIPH.js', '/chunk-S5GU2L3A.js', '/chunk-SQE76S5B.js', '/chunk-TTZKVDDI.js', '/chunk-VH2U33M5.js', '/chunk-YOZIRHWS.js', '/chunk-inter-latin-wght-normal-NRMW37G5.woff2', '/icon.svg']

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
