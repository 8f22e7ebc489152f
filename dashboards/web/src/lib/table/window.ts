/** Which rows of a long list are drawn: those in view and some around. */
export interface RowWindow {
  first: number
  count: number
}

export function rowWindow(scrollTop: number, viewport: number, rowHeight: number, total: number, around: number): RowWindow {
  const visible = Math.ceil(viewport / rowHeight) + 1
  const first = Math.max(0, Math.min(Math.floor(scrollTop / rowHeight) - around, total - visible - around))
  return { first, count: Math.max(0, Math.min(total - first, visible + 2 * around)) }
}
