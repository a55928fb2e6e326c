// Keeps the page for when there is no network: what is edited offline is kept in the browser, and so is what shows it.
//
// The network comes first for everything that can change; a binary's upgrade shows at the next reload.

const CACHE = 'ydash-67208fffe6cb05ce'
const FILES = ['/', '/app.css', '/app.js', '/chunk-3F6OY7ZL.js', '/chunk-4BGW7ZGA.js', '/chunk-5EK5BYPF.js', '/chunk-5GJK4HZI.js', '/chunk-AOI3CSX3.js', '/chunk-BI7C2CR6.js', '/chunk-BOOPRUXN.js', '/chunk-DW34UCTS.js', '/chunk-DWBASTMD.js', '/chunk-FIB7YZC6.js', '/chunk-FQZ5YPWO.js', '/chunk-GBOK5V5W.js', '/chunk-GJ4WDQHC.js', '/chunk-HU55JLEX.js', '/chunk-IJRNNGXQ.js', '/chunk-ISZVT2MD.js', '/chunk-J2WSH752.js', '/chunk-J4XNGX5N.js', '/chunk-JFF7T2R2.js', '/chunk-NYCRYUCX.js', '/chunk-O5BAF537.js', '/chunk-QUFV327Y.js', '/chunk-R5EJLGDQ.js', '/chunk-SQE76S5B.js', '/chunk-TDCITO4K.js', '/chunk-U23FAGKY.js', '/chunk-V6UM6NDG.js', '/chunk-VH2U33M5.js', '/chunk-W7V6PY6Z.js', '/chunk-YDZBP3ZY.js', '/chunk-YJIO62QF.js', '/chunk-YODZV5VZ.js', '/chunk-ZYZ4ODYL.js', '/chunk-inter-latin-wght-normal-NRMW37G5.woff2', '/icon.svg']

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
