import { UNKNOWN } from './number'

/** Which clock the pages show. */
export type Zone = 'local' | 'utc'

const formats = new Map<string, Intl.DateTimeFormat>()

function format(zone: Zone, kind: 'clock' | 'date' | 'zone'): Intl.DateTimeFormat {
  const key = `${zone}/${kind}`
  let found = formats.get(key)
  if (found === undefined) {
    const timeZone = zone === 'utc' ? { timeZone: 'UTC' } : {}
    const clock = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const
    const options: Intl.DateTimeFormatOptions =
      kind === 'clock'
        ? clock
        : kind === 'date'
          ? { year: 'numeric', month: '2-digit', day: '2-digit' }
          : { ...clock, timeZoneName: 'short' }
    found = new Intl.DateTimeFormat(kind === 'date' ? 'en-CA' : 'en-GB', { ...options, ...timeZone })
    formats.set(key, found)
  }
  return found
}

/** Milliseconds since 1970, or `undefined` for what is no time. */
export function parse(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : at
}

/** `14:03:09`. */
export function clock(at: number | undefined, zone: Zone): string {
  return at === undefined ? UNKNOWN : format(zone, 'clock').format(at)
}

/** `2026-11-22`. */
export function date(at: number | undefined, zone: Zone): string {
  return at === undefined ? UNKNOWN : format(zone, 'date').format(at)
}

/** `2026-11-22 14:03:09`. */
export function dateTime(at: number | undefined, zone: Zone): string {
  return at === undefined ? UNKNOWN : `${date(at, zone)} ${clock(at, zone)}`
}

/** Time alone on the day of `now`, else with its date. */
export function brief(at: number | undefined, now: number, zone: Zone): string {
  if (at === undefined) return UNKNOWN
  return date(at, zone) === date(now, zone) ? clock(at, zone) : `${date(at, zone)} ${clock(at, zone).slice(0, 5)}`
}

/** The zone's short name at that time, such as `UTC` or `GMT+1`. */
export function zoneName(at: number, zone: Zone): string {
  if (zone === 'utc') return 'UTC'
  return format(zone, 'zone').formatToParts(at).find((part) => part.type === 'timeZoneName')?.value ?? 'local'
}

/** A span of time in its two largest units: `4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function span(seconds: number | undefined): string {
  if (seconds === undefined || !Number.isFinite(seconds)) return UNKNOWN
  const s = Math.max(0, Math.floor(seconds))
  const two = (a: number, unitA: string, b: number, unitB: string) =>
    b === 0 ? `${a} ${unitA}` : `${a} ${unitA} ${b} ${unitB}`
  if (s < 60) return `${s} s`
  if (s < 3600) return two(Math.floor(s / 60), 'min', s % 60, 's')
  if (s < 86_400) return two(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min')
  return two(Math.floor(s / 86_400), 'd', Math.floor((s % 86_400) / 3600), 'h')
}

/** What a `datetime-local` field holds, read in the zone shown, as RFC 3339; `undefined` if it is no time. */
export function fromField(value: string, zone: Zone): string | undefined {
  if (value === '') return undefined
  const at = Date.parse(zone === 'utc' ? `${value}Z` : value)
  return Number.isNaN(at) ? undefined : new Date(at).toISOString()
}
