import type { Point } from '../api/types'
import { LEG_STALE_S } from '../health/stale'
import { extent, isGap } from './points'

/** A stretch of time in which a participant was not simply good. Seconds since 1970. */
export interface Shade {
  from: number
  to: number
  state: 'at_risk' | 'outage' | 'no_data'
}

/**
 * What lies behind a participant's charts between `from` and `to`, the time that it was in the class: where
 * it was at risk or out, and where nothing is known, which after the newest window is so only once the next
 * report is overdue.
 */
export function shades(points: readonly Point[], from: number, to: number): Shade[] {
  const out: Shade[] = []
  const add = (begins: number, ends: number, state: Shade['state']) => {
    const shade = { from: Math.max(begins, from), to: Math.min(ends, to), state }
    if (shade.to <= shade.from) return
    const last = out.at(-1)
    if (last?.state === state && shade.from <= last.to) last.to = Math.max(last.to, shade.to)
    else out.push(shade)
  }
  let known = from
  for (const point of points) {
    const when = extent(point)
    if (when === undefined || when.ends <= known) continue
    if (isGap(known, when.begins, point.length_s)) add(known, when.begins, 'no_data')
    const begins = Math.max(when.begins, known)
    if (point.quality === 'unknown') add(begins, when.ends, 'no_data')
    else if (point.quality !== 'good') add(begins, when.ends, point.quality)
    known = when.ends
  }
  if (to - known > LEG_STALE_S) add(known, to, 'no_data')
  return out
}

/** How long each state lasted in all, seconds. */
export function lasted(all: readonly Shade[]): Record<Shade['state'], number> {
  const out = { at_risk: 0, outage: 0, no_data: 0 }
  for (const { from, to, state } of all) out[state] += to - from
  return out
}
