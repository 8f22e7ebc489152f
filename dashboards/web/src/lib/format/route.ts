/** A route in words: its edges in order, or that there is none on the way. */
export function routeText(route: readonly string[]): string {
  return route.length === 0 ? 'direct' : route.join(' › ')
}

export function sameRoute(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((edge, i) => edge === b[i])
}
