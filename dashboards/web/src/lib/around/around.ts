import type { HostState, Surroundings, Trace, TraceHop, WifiState } from '../api/types'
import { bytes, count, ms, percent, UNKNOWN } from '../format/number'

/** One thing around a machine: what was seen of it, or why nothing was. */
export interface Fact {
  name: string
  text: string
  seen: boolean
  /** Worth a look: it delays a class by itself. */
  bad: boolean
}

/** Below this signal voice suffers on most networks. */
const WEAK_DBM = -67
/** A gateway is in the same building. */
const SLOW_GATEWAY_MS = 50
/** Three steps of the agent's grid. */
const LONG_STALL_MS = 300
const BUSY = 0.9

const LINKS: Record<string, string> = { ethernet: 'Ethernet', wifi: 'Wi-Fi', cellular: 'Mobile', vpn: 'VPN', loopback: 'This machine', unknown: 'Unknown kind' }

const joined = (parts: readonly (string | undefined)[]) => parts.filter((part) => part !== undefined && part !== '').join(', ')

function wifi({ ssid, signal_dbm, tx_mbps, rx_mbps, channel }: WifiState): string {
  return joined([
    ssid,
    signal_dbm === undefined ? undefined : `${signal_dbm} dBm`,
    tx_mbps === undefined ? undefined : `${count(tx_mbps)} Mbit/s up`,
    rx_mbps === undefined ? undefined : `${count(rx_mbps)} Mbit/s down`,
    channel === undefined ? undefined : `channel ${channel}`,
  ])
}

function host({ cpu, load, processors, available_bytes, memory_bytes }: HostState): string {
  return joined([
    cpu === undefined ? undefined : `CPU ${percent(cpu)}`,
    load === undefined ? undefined : `load ${load.toFixed(2)}${processors === undefined ? '' : ` on ${processors}`}`,
    available_bytes === undefined ? undefined : `${bytes(available_bytes)} free${memory_bytes === undefined ? '' : ` of ${bytes(memory_bytes)}`}`,
  ])
}

/** Everything around a machine, in one order, each with its unit. */
export function facts(seen: Surroundings): Fact[] {
  const fact = (name: string, what: string, text: string | undefined, bad = false): Fact[] => {
    const why = seen.not_seen?.[what]
    if (text !== undefined && text !== '') return [{ name, text, seen: true, bad }]
    return why === undefined ? [] : [{ name, text: `not seen: ${why}`, seen: false, bad: false }]
  }
  const { link_type: link, gateway_rtt_ms: gateway, outside_rtt_ms: outside, outside_hop: hop, stalls } = seen
  return [
    ...fact('Link', 'link', link === undefined ? undefined : (LINKS[link] ?? link)),
    ...fact('Gateway', 'gateway', gateway === undefined ? undefined : ms(gateway), (gateway ?? 0) >= SLOW_GATEWAY_MS),
    ...fact('First hop outside', 'outside', outside === undefined ? undefined : `${ms(outside)}${hop === undefined ? '' : `, hop ${hop}`}`),
    ...fact('Wi-Fi', 'wifi', seen.wifi === undefined ? undefined : wifi(seen.wifi), (seen.wifi?.signal_dbm ?? 0) < WEAK_DBM),
    ...fact('Machine', 'host', seen.host === undefined ? undefined : host(seen.host), (seen.host?.cpu ?? 0) >= BUSY),
    ...fact('Stalls', 'stalls', stalls === undefined ? undefined : stalls.count === 0 ? 'none' : `${count(stalls.count)}, worst ${ms(stalls.worst_ms)}`, (stalls?.worst_ms ?? 0) >= LONG_STALL_MS),
  ]
}

const isHop = (value: unknown): value is TraceHop =>
  typeof value === 'object' && value !== null && 'hop' in value && 'addresses' in value && Array.isArray(value.addresses)

/** The trace in an event's detail, if there is one that can be shown. */
export function traceIn(detail: unknown): Trace | undefined {
  if (typeof detail !== 'object' || detail === null || !('trace' in detail)) return undefined
  const { trace } = detail
  if (typeof trace !== 'object' || trace === null || !('hops' in trace) || !Array.isArray(trace.hops)) return undefined
  return trace.hops.every(isHop) ? (trace as Trace) : undefined
}

/** What a hop lost, or why that is not known. */
export function hopLoss(hop: TraceHop): string {
  if (hop.unreachable !== undefined) return hop.unreachable
  if (hop.loss !== undefined) return percent(hop.loss)
  return hop.limits_answers ? 'limits its answers' : UNKNOWN
}
