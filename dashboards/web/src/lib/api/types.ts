/**
 * The API's JSON, as `/api/v1` answers and takes it. Mirrors the server's model; what is unknown is
 * absent; times are RFC 3339 in UTC unless a name ends in `_ms` or `_s`.
 */

export type Level = 'viewer' | 'support' | 'operator' | 'admin'
export type Role = 'teacher' | 'student' | 'observer'
export type ClassState = 'scheduled' | 'live' | 'ended'
export type Outcome = 'completed' | 'cut_short' | 'dropped' | 'never_started'
export type BudgetOn = 'round_trip' | 'one_way'
export type Protect = 'off' | 'at_risk' | 'always'
export type Service = 'agent' | 'edge'
export type EdgeState = 'up' | 'draining' | 'down'
export type AgentState = 'up' | 'silent' | 'gone' | 'revoked'
export type Quality = 'good' | 'at_risk' | 'outage' | 'unknown'

export interface Status {
  controller: ControllerStatus
  edges: EdgeStatus[]
  agents: AgentStatus[]
  links: LinkStatus[]
  classes: ClassStatus[]
  /** Public addresses that several agents use. */
  sites?: SiteStatus[]
}

/** Agents behind one public address, which is shown truncated. */
export interface SiteStatus {
  address: string
  agents: number
  in_class: number
  budget_kbps: number
  share_in_class_kbps?: number
  share_idle_kbps?: number
  out_kbps: number
  back_kbps: number
}

/** What an agent may send and get, and did over the last minute: kbit/s of IP bytes. */
export interface TrafficStatus {
  budget_kbps: number
  /** Of its site's line; absent without a limit. */
  share_kbps?: number
  out_kbps?: number
  back_kbps?: number
  peers_out_kbps?: number
  peers_back_kbps?: number
  rungs_down: number
  metered: boolean
}

export interface ControllerStatus {
  version: string
  now: string
  uptime_s: number
  reports: number
  repeats: number
  store_bytes: number
}

export interface EdgeStatus {
  name: string
  state: EdgeState
  region?: string
  addresses: string[]
  agents: number
  /** Share of one core. */
  cpu?: number
  rss_bytes?: number
  forwarded: number
  local_drops: number
  refused: number
  version?: string
  last_seen?: string
}

export interface AgentStatus {
  subject: string
  id: string
  state: AgentState
  uplink?: string
  version?: string
  platform?: string
  link_type?: string
  /** How far its wall clock is off the controller's; present beyond 2 s. */
  clock_off_s?: number
  tags: Record<string, string>
  classes: string[]
  last_seen?: string
  spool_rows: number
  spool_dropped: number
  traffic?: TrafficStatus
  /** Not in the live feed: a class's timeline has them. */
  surroundings?: Surroundings
}

/** What lies around a machine. What is absent was not seen: `not_seen` says why. */
export interface Surroundings {
  at: string
  /** ethernet, wifi, cellular, vpn, loopback or unknown. */
  link_type?: string
  gateway_rtt_ms?: number
  /** The first router with a public address. */
  outside_rtt_ms?: number
  outside_hop?: number
  wifi?: WifiState
  host?: HostState
  stalls?: StallCount
  /** One sentence each for link, gateway, outside, wifi and host. */
  not_seen?: Record<string, string>
}

export interface WifiState {
  signal_dbm?: number
  tx_mbps?: number
  rx_mbps?: number
  channel?: number
  frequency_mhz?: number
  ssid?: string
  bssid?: string
}

export interface HostState {
  /** Share of all processors. */
  cpu?: number
  load?: number
  processors?: number
  memory_bytes?: number
  available_bytes?: number
  /** Share of 10 s in which something waited for a processor. */
  pressure?: number
}

/** Wakings of the agent that came 50 ms late or more. */
export interface StallCount {
  count: number
  worst_ms: number
}

/** A path, hop by hop. */
export interface Trace {
  at: string
  /** `edge:NAME` or `target:HOST:PORT`. */
  toward: string
  /** The trouble that it was made for; absent: on schedule. */
  trigger?: string
  method?: string
  reached: boolean
  loss?: number
  hops: TraceHop[]
  not_seen?: string[]
}

export interface TraceHop {
  hop: number
  addresses: string[]
  sent: number
  answered: number
  rtt_ms?: { best: number; p50: number; worst: number }
  /** Share lost up to here, there and back; absent where missing answers may be none. */
  loss?: number
  limits_answers: boolean
  unreachable?: string
}

export interface Rtt {
  p50: number
  p95: number
}

/** One direction of one link. `from` and `to` are an edge's name, or `agent:SUBJECT`; that to `target:HOST:PORT` is both in one. */
export interface LinkStatus {
  from: string
  to: string
  window_s: number
  /** Since the prober's start. */
  sent: number
  lost: number
  /** Share lost in the newest window. */
  loss?: number
  rtt_ms?: Rtt
  owd_ms?: number
  owd_error_ms?: number
  jitter_ms?: number
  /** Share of the newest window's answers whose times do not count: a machine stood still. */
  kept_out?: number
  age_s?: number
  /** By what a target is measured. */
  method?: TargetMethod
}

export type TargetMethod = 'stamp' | 'stun' | 'icmp' | 'tcp'

/** How a class's target is measured from one edge or agent; without a method it is not, and `unmeasured` says why. */
export interface TargetStatus {
  /** An edge's name, or `agent:SUBJECT`. */
  from: string
  method?: TargetMethod
  bias?: string
  rtt_ms?: Rtt
  age_s: number
  unmeasured: { what: TargetMethod | 'address'; why: string }[]
}

/** What is held against a budget on one way: the worse direction with its bound on top, or half of the round trip. */
export interface OneWay {
  p50: number
  p95: number
  /** Absent of half of the round trip. */
  error?: number
}

export interface ClassStatus {
  id: string
  state: ClassState
  outcome?: Outcome
  quality: Quality
  hub?: string
  target?: string
  target_links?: TargetStatus[]
  budget_ms: number
  budget_on: BudgetOn
  protect: Protect
  start?: string
  end?: string
  began?: string
  ended?: string
  /** Worst teacher–student round trip. */
  rtt_ms?: Rtt
  one_way_ms?: OneWay
  participants: ParticipantStatus[]
}

export interface ParticipantStatus {
  subject: string
  role: Role
  quality: Quality
  joined?: string
  left?: string
  legs: LegStatus[]
  /** The media that edges carry from and to this participant. */
  flows?: FlowStatus[]
}

/** One flow of media at one of its ends: cumulative. */
export interface FlowStatus {
  /** The same at both ends. */
  id: string
  /** Another agent began it. */
  ends_here: boolean
  /** By which the last packet went, or goes back: in the order of the way from who began it. */
  route?: string[]
  moves: number
  sent: number
  sent_bytes: number
  received: number
  received_bytes: number
  lost: number
  repeated: number
  reordered: number
  dropped: number
  undone: number
  /** To the far end and back, of late; of flows that begin here. */
  rtt_ms?: number
  /** Missed at the far end. */
  lost_there: number
  /** Not sent: more than is granted. */
  too_fast: number
  /** Not sent: the flow kept losing most of what it sent. */
  throttled: number
  is_throttled: boolean
  /** Copies by a second route. */
  protecting: number
  /** Why a route is not open to it. */
  refused?: string
}

export interface RouteComparison {
  route: string[]
  up_ms: number
  down_ms: number
  /** Bound of both. */
  error_ms: number
}

export interface LegStatus {
  /** `agent:SUBJECT`, `target:HOST:PORT` or `hub:EDGE`. */
  to: string
  plan: number
  primary: string[]
  standbys: string[][]
  in_use?: string[]
  in_use_since?: string
  /** Why it is in use: one sentence. */
  in_use_reason?: string
  /** Its other routes against the one in use, each direction by itself. */
  compared?: RouteComparison[]
  /** How the agent measures the target without any edge. */
  direct?: TargetStatus
  rtt_ms?: Rtt
  one_way_ms?: OneWay
  loss?: number
  budget_ms: number
  switches: number
  reason: string
  reason_detail: unknown
  age_s?: number
}

export interface CreateClass {
  id: string
  participants: NewParticipant[]
  target?: string
  budget_ms?: number
  budget_on?: BudgetOn
  protect?: Protect
  start?: string
  end?: string
}

export interface NewParticipant {
  subject: string
  role: Role
}

export interface EndClass {
  outcome?: Outcome
}

export interface Timeline {
  class: ClassStatus
  from: string
  to: string
  participants: ParticipantTimeline[]
  events: Event[]
}

export interface ParticipantTimeline {
  subject: string
  role: Role
  /** Ascending in time; a gap in time is a gap in knowledge and must not be joined. */
  points: Point[]
  /** Ascending in time; of many that are close together the worst. */
  surroundings?: Surroundings[]
  /** Paths that were traced on schedule. Those that trouble asked for are in events. */
  paths?: Trace[]
}

export interface Point {
  /** End of the window. */
  at: string
  length_s: number
  route: string[]
  rtt_ms?: Rtt
  loss_up?: number
  loss_down?: number
  jitter_ms?: number
  quality: Quality
}

export interface Event {
  at: string
  kind: string
  class?: string
  subject?: string
  edge?: string
  /** In the feed, of an edge that goes or comes back: the live classes that it concerns. */
  classes?: string[]
  text: string
  detail: unknown
}

export interface Login {
  name: string
  password: string
}

export interface Session {
  name: string
  level: Level
  csrf: string
}

export interface CreateToken {
  service: Service
  uses?: number
  expires_s?: number
  subject?: string
  tags?: Record<string, string>
}

export interface CreatedToken {
  id: string
  token: string
  expires: string
  join: string
}

export interface TokenInfo {
  id: string
  service: Service
  subject?: string
  tags: Record<string, string>
  uses_left: number
  created: string
  expires: string
  revoked: boolean
}

export interface DrainEdge {
  on: boolean
}

/** Every error's body. */
export interface Error {
  code: string
  message: string
}
