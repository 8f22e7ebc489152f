import type { OneWay, Rtt } from '../api/types'
import { ms } from './number'

type Delays = { rtt_ms?: Rtt | undefined; one_way_ms?: OneWay | undefined }

/** The 95th percentile that is held against the budget: of the round trip, or of one way. */
export function judgedP95({ rtt_ms, one_way_ms }: Delays): number | undefined {
  return (one_way_ms ?? rtt_ms)?.p95
}

/** What a one-way delay stands for. */
export function oneWayText({ error }: OneWay): string {
  return error === undefined ? 'each way, as half of the round trip' : `the worse way, ${ms(error)} of doubt included`
}
