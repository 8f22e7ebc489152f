import type { LinkStatus } from '../api/types'
import { linkStale } from '../health/stale'
import type { Look } from '../health/tone'
import type { Loss } from './minute-loss'

/** A single lost probe proves nothing: these many are needed, and this share. */
const WARN = { lost: 2, share: 0.01 }
const CRITICAL = { lost: 3, share: 0.05 }

/** One direction of one pair of edges, as the grid shows it. */
export interface Direction {
  look: Look
  link?: LinkStatus
  /** Share lost over the last minute where it is known, else in the newest window. */
  loss?: number
}

export function direction(link: LinkStatus | undefined, minute: Loss | undefined, feedAge: number | null): Direction {
  if (link === undefined) return { look: { tone: 'unknown', text: 'No data' } }
  const loss = minute === undefined ? link.loss : minute.lost / minute.sent
  const known = { link, ...(loss === undefined ? {} : { loss }) }
  if (linkStale(link.age_s, link.window_s, feedAge)) return { ...known, look: { tone: 'stale', text: 'Stale' } }
  if (loss === undefined) return { ...known, look: { tone: 'unknown', text: 'No data' } }
  return { ...known, look: judge(link, minute) }
}

function judge(link: LinkStatus, minute: Loss | undefined): Look {
  if (minute === undefined) {
    // No count yet, only a share: nothing but a window lost whole is certain enough for the alarm.
    if (link.loss === 1) return { tone: 'critical', text: 'Nothing arrives' }
    if (link.loss !== undefined && link.loss >= CRITICAL.share) return { tone: 'warn', text: 'Loss in the newest window' }
    return { tone: 'ok', text: 'OK' }
  }
  const share = minute.lost / minute.sent
  if (minute.lost >= CRITICAL.lost && share === 1) return { tone: 'critical', text: 'Nothing arrives' }
  if (minute.lost >= CRITICAL.lost && share >= CRITICAL.share) return { tone: 'critical', text: 'High loss' }
  if (minute.lost >= WARN.lost && share >= WARN.share) return { tone: 'warn', text: 'Some loss' }
  return { tone: 'ok', text: 'OK' }
}

/**
 * Delay of one direction where it is known well enough to tell it from the other's: a bound as wide as the
 * delay itself says no more than the round trip does.
 */
export function oneWayDelay({ owd_ms: value, owd_error_ms: bound }: LinkStatus): { value: number; bound: number } | undefined {
  if (value === undefined || bound === undefined || bound > value / 2) return undefined
  return { value, bound }
}

/** Severity for "the worst result wins": higher is worse. */
export function severity(look: Look): number {
  return { ok: 0, neutral: 0, unknown: 1, stale: 2, warn: 3, critical: 4 }[look.tone]
}
