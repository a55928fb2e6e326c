// From a document's name in the old server to its dashboard, `workspace/name`, and back.
//
// The rules are those by which ydash itself names what a client opens, so a frontend finds its documents under the names it
// always used:
//   path    y-websocket: the URL's path. `my%20room` is default/my room, `ws/acme/sales` is acme/sales, `a/b` is default/a/b
//   short   Hocuspocus: `sales` is default/sales, `acme/sales` is acme/sales
// A workspace that is named on the command line takes all names as they are.

export const DEFAULT_WORKSPACE = 'default'

/** The dashboard that `name` becomes. What ydash does not take as a name, it refuses itself. */
export function toDashboard (name, rule, workspace) {
  if (rule === 'path') {
    const inWorkspace = workspace === undefined && /^ws\/([^/]+)\/(.+)$/s.exec(name)
    const [, space, rest] = inWorkspace || [null, workspace ?? DEFAULT_WORKSPACE, name]
    return `${decode(space)}/${decode(rest)}`
  }
  if (workspace !== undefined) return `${workspace}/${name}`
  return name.includes('/') ? name : `${DEFAULT_WORKSPACE}/${name}`
}

/** The name that `dashboard` has in an old server. */
export function fromDashboard (dashboard, rule, workspace) {
  const slash = dashboard.indexOf('/')
  const [space, name] = [dashboard.slice(0, slash), dashboard.slice(slash + 1)]
  if (workspace !== undefined && space !== workspace) throw new Error(`not in the workspace ${workspace}`)
  if (rule === 'path') {
    const path = name.replace(/[?#]|%(?=[0-9a-f]{2})/gi, encodeURIComponent)
    return space === (workspace ?? DEFAULT_WORKSPACE) ? path : `ws/${space}/${path}`
  }
  if (workspace !== undefined) return name
  return space === DEFAULT_WORKSPACE && !name.includes('/') ? name : dashboard
}

/** Decodes `%XX`; a percent sign without two hex digits stands for itself. */
function decode (encoded) {
  return encoded.replace(/(%[0-9a-f]{2})+/gi, escapes => decodeURIComponent(escapes))
}
