// Keeps the page for when there is no network: what is edited offline is kept in the browser, and so is what shows it.
//
// The network comes first for everything that can change; a binary's upgrade shows at the next reload.

const CACHE = 'ydash-dd57ebc1596ea7bf'
const FILES = ['/', '/app.css', '/app.js', '/chunk-2LTMWEUA.js', '/chunk-3FENFJS6.js', '/chunk-3VA7UESW.js', '/chunk-4I2V4Q46.js', '/chunk-5D46ZAGP.js', '/chunk-5EK5BYPF.js', '/chunk-5WMGSPQN.js', '/chunk-6KWSQCJD.js', '/chunk-6NIBJ3H5.js', '/chunk-AOI3CSX3.js', '/chunk-BI7C2CR6.js', '/chunk-CPTWXJWB.js', '/chunk-E5OFWQBN.js', '/chunk-E7GMD4FR.js', '/chunk-ECWGR4QE.js', '/chunk-FACQZRUG.js', '/chunk-FIB7YZC6.js', '/chunk-G4UALOKK.js', '/chunk-H6SMQ2E5.js', '/chunk-HCEIAXYM.js', '/chunk-IJRNNGXQ.js', '/chunk-ISZVT2MD.js', '/chunk-J4XNGX5N.js', '/chunk-J6PKFD6W.js', '/chunk-KE7JSAJI.js', '/chunk-KQI5LVD3.js', '/chunk-LLNNAVU4.js', '/chunk-LSLGL4C3.js', '/chunk-MJ5QHRO5.js', '/chunk-NJE5DTXV.js', '/chunk-NOFOBWAY.js', '/chunk-NSTINGYU.js', '/chunk-QAEY7Q6E.js', '/chunk-R73AEZNG.js', '/chunk-S56OHIPH.js', '/chunk-SIZCIDXY.js', '/chunk-SN2IQVNE.js', '/chunk-SQE76S5B.js', '/chunk-UUVHPXML.js', '/chunk-VH2U33M5.js', '/chunk-VUFUV5SH.js', '/chunk-XHDZX2NK.js', '/chunk-XOAETTDV.js', '/chunk-inter-latin-wght-normal-NRMW37G5.woff2', '/icon.svg']

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
