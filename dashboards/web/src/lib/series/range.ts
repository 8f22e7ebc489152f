import type { ClassStatus } from '../api/types'
import { parse } from '../format/time'

/** Spans of a class's history that may be asked for; the word stands in the address. */
export const RANGES = ['15m', '1h', '4h', 'all'] as const
export type Range = (typeof RANGES)[number]

const LENGTH_MS: Record<Exclude<Range, 'all'>, number> = { '15m': 900_000, '1h': 3_600_000, '4h': 14_400_000 }

export interface TimeSpan {
  /** Milliseconds since 1970. */
  from: number
  to: number
}

/** The span up to now, or up to the end of a class that is over; from the class's beginning at the earliest, and no shorter than a minute. A class not known yet counts as live. */
export function spanOf(row: ClassStatus | null, range: Range, now: number): TimeSpan {
  const to = (row?.state === 'ended' ? parse(row.ended) : undefined) ?? now
  const began = parse(row?.began) ?? parse(row?.start)
  const asked = to - LENGTH_MS[range === 'all' ? '15m' : range]
  const from = range === 'all' ? (began ?? asked) : Math.max(began ?? asked, asked)
  return { from: Math.min(from, to - 60_000), to }
}

/** The history comes anew every 5 s while a class is live; one that is older by this has not come. Seconds. */
const OVERDUE_S = 15

/**
 * The right end of the time axis, seconds since 1970. It goes on when the history does not, so that what is
 * missing shows as missing, and the newest measurement never looks like now.
 */
export function axisEnd(to: number, now: number, ended: boolean): number {
  return ended || now - to <= OVERDUE_S ? to : now
}
