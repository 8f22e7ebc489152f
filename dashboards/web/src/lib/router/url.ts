/** Pages and their state as addresses, both ways. */

export type Page =
  | { name: 'login' }
  | { name: 'classes' }
  | { name: 'new-class' }
  | { name: 'class'; id: string }
  | { name: 'edges' }
  | { name: 'agents' }
  | { name: 'tokens' }
  | { name: 'not-found' }

export function pageOf(path: string): Page {
  const parts = path.split('/').filter((part) => part !== '')
  const [first, second] = parts
  if (first === undefined) return { name: 'classes' }
  if (first === 'classes' && parts.length <= 2) {
    if (second === undefined) return { name: 'classes' }
    const id = decode(second)
    return id === undefined ? { name: 'not-found' } : { name: 'class', id }
  }
  if (parts.length === 1) {
    switch (first) {
      case 'login':
      case 'new-class':
      case 'edges':
      case 'agents':
      case 'tokens':
        return { name: first }
    }
  }
  return { name: 'not-found' }
}

function decode(part: string): string | undefined {
  try {
    return decodeURIComponent(part)
  } catch {
    return undefined
  }
}

export const classPath = (id: string): string => `/classes/${encodeURIComponent(id)}`

/** The address with these parameters changed; `null` or '' takes one away. Order stays stable. */
export function withParams(path: string, search: string, changes: Record<string, string | null>): string {
  const params = new URLSearchParams(search)
  for (const [key, value] of Object.entries(changes)) {
    if (value === null || value === '') params.delete(key)
    else params.set(key, value)
  }
  const query = params.toString()
  return query === '' ? path : `${path}?${query}`
}

/** One of the words allowed, or the fallback. */
export function oneOf<T extends string>(value: string | null, allowed: readonly T[], fallback: T): T {
  return allowed.find((word) => word === value) ?? fallback
}

/** Where to go after logging in: a path on this site, never another site. */
export function safeNext(next: string | null): string {
  if (next === null || !next.startsWith('/') || next.startsWith('//') || next.includes('\\')) return '/'
  return pageOf(new URL(next, 'http://here').pathname).name === 'login' ? '/' : next
}
