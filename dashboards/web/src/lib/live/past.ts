import type { ClassStatus } from '../api/types'

/**
 * The live status holds ended classes for an hour; the store has those before. They are asked for while a
 * list wants them, and seldom: what is over changes no more.
 */
export type PastState = 'loading' | 'failed' | 'newest' | 'all'

export interface Past {
  state: PastState
  classes: readonly ClassStatus[]
}

export const NO_PAST: Past = { state: 'loading', classes: [] }

/** As many as the controller gives at once. */
export const MOST_PAST = 1_000

/** What an answer of ended classes says. */
export function pastOf(classes: readonly ClassStatus[]): Past {
  return { state: classes.length >= MOST_PAST ? 'newest' : 'all', classes }
}

/** The status's classes and those before them; what the status says of a class is newer. */
export function withPast(live: readonly ClassStatus[], past: Past): readonly ClassStatus[] {
  if (past.classes.length === 0) return live
  const known = new Set(live.map((row) => row.id))
  return [...live, ...past.classes.filter((row) => !known.has(row.id))]
}
