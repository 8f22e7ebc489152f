// A made-up but consistent world: what a class did at any time is a pure function of that time, so that
// the status, the timeline and the events tell one story.

const EDGES = [
  { name: 'fra', region: 'eu-central', rtt: 0 },
  { name: 'nyc', region: 'us-east', rtt: 1 },
  { name: 'sao', region: 'sa-east', rtt: 2 },
  { name: 'sin', region: 'ap-southeast', rtt: 3 },
  { name: 'jnb', region: 'af-south', rtt: 4 },
]
/** Round trips between edges, ms. */
const MESH = [
  [0, 84, 196, 158, 152],
  [84, 0, 112, 224, 228],
  [196, 112, 0, 318, 334],
  [158, 224, 318, 0, 172],
  [152, 228, 334, 172, 0],
]
const TOPICS = ['maths', 'physics', 'english', 'history', 'chemistry', 'biology', 'music', 'spanish', 'geography', 'coding']
const PLATFORMS = ['linux x86_64', 'windows x86_64', 'macos aarch64', 'linux aarch64']
const LINKS = ['wifi', 'wired', 'mobile']

/** Seconds of one round of faults, and of one window. */
const CYCLE = 300
const WINDOW = 10

/** A number in [0, 1) that depends on its arguments alone. */
function chance(...parts) {
  let h = 2166136261
  for (const c of parts.join('|')) h = Math.imul(h ^ c.charCodeAt(0), 16777619)
  h ^= h >>> 15
  h = Math.imul(h, 2246822507)
  h ^= h >>> 13
  return (h >>> 0) / 4294967296
}

const round = (value, digits = 2) => Number(value.toFixed(digits))
const iso = (seconds) => new Date(seconds * 1000).toISOString()

/** What befalls a class, by its number: most have a quiet life. */
function fate(index) {
  if (index % 9 === 1) return 'switch'
  if (index % 31 === 4) return 'gap'
  if (index % 53 === 7) return 'outage'
  if (index % 17 === 3) return 'slow'
  if (index % 71 === 12) return 'unknown'
  return 'quiet'
}

/** What every machine here has around it: a Wi-Fi that is weak, and a gateway that says nothing. */
function around(at) {
  const hop = (number, network, rtt) => ({
    hop: number,
    addresses: [network],
    sent: 3,
    answered: 3,
    rtt_ms: { best: rtt - 0.4, p50: rtt, worst: rtt + 2 },
    loss: 0,
    limits_answers: false,
  })
  return {
    surroundings: [
      {
        at: iso(at),
        link_type: 'wifi',
        outside_rtt_ms: 11.6,
        outside_hop: 2,
        wifi: { signal_dbm: -71, tx_mbps: 433.3, channel: 36 },
        host: { cpu: 0.42, load: 1.5, processors: 4, memory_bytes: 8e9, available_bytes: 2.5e9 },
        stalls: { count: 0, worst_ms: 3 },
        not_seen: { gateway: 'no answer' },
      },
    ],
    paths: [
      { at: iso(at - 60), toward: 'edge:fra', method: 'udp', reached: true, loss: 0, hops: [hop(1, '192.168.1.0/24', 2.2), hop(2, '203.0.113.0/24', 11.6)] },
    ],
  }
}

export class World {
  constructor({ classes = 30, agents = undefined, edges = 5, now = Date.now() / 1000 } = {}) {
    this.started = now
    this.reports = 81_220
    this.drained = new Set()
    this.tokens = []
    this.serial = 0
    this.changes = 0
    this.edges = EDGES.slice(0, edges)
    this.classes = new Map()
    if (edges > 0) for (let i = 0; i < classes; i += 1) this.classes.set(this.idOf(i), this.madeClass(i))
    /** What the store has and the status has not: it ended more than an hour ago. */
    this.past = new Map()
    if (this.edges.length > 0) for (let i = 0; i < Math.min(40, classes); i += 1) this.past.set(...this.pastClass(i))
    this.spare = agents ?? Math.min(40, classes)
  }

  idOf(i) {
    return `${TOPICS[i % TOPICS.length]}-${5 + (i % 8)}${'abc'[i % 3]}-${String(i).padStart(4, '0')}`
  }

  madeClass(i) {
    const id = this.idOf(i)
    const hub = i % 6 === 5
    const target = i % 4 === 2
    const students = hub ? 4 : 1
    const participants = [{ subject: `t-${String(i).padStart(4, '0')}`, role: 'teacher' }]
    for (let s = 0; s < students; s += 1) participants.push({ subject: `s-${String(i).padStart(4, '0')}-${s + 1}`, role: 'student' })
    const dropped = i % 37 === 26
    const state = i % 29 === 20 ? 'scheduled' : i % 37 === 25 || dropped ? 'ended' : 'live'
    const began = this.started - 2400 - (i % 50) * 30
    return {
      id,
      index: i,
      fate: dropped ? 'outage' : fate(i),
      state,
      outcome: state === 'ended' ? (dropped ? 'dropped' : 'completed') : undefined,
      hub: hub ? this.edges[i % this.edges.length].name : undefined,
      target: target ? 'media.example.org:3478' : undefined,
      budget_ms: i % 7 === 3 ? 100 : 200,
      budget_on: i % 7 === 3 ? 'one_way' : 'round_trip',
      protect: i % 5 === 0 ? 'at_risk' : 'off',
      start: state === 'scheduled' ? this.started + 3600 : undefined,
      end: state === 'scheduled' ? this.started + 7200 : undefined,
      began: state === 'scheduled' ? undefined : began,
      ended: state === 'ended' ? this.started - 300 : undefined,
      participants,
    }
  }

  pastClass(i) {
    const ended = this.started - 5400 - i * 2700
    const outcome = ['completed', 'completed', 'dropped', 'completed', 'cut_short', 'never_started'][i % 6]
    const row = { ...this.madeClass(i * 7 + 1000), state: 'ended', outcome, ended, began: outcome === 'never_started' ? undefined : ended - 2700 }
    if (outcome === 'dropped') row.fate = 'outage'
    return [row.id, row]
  }

  /** Ended classes, newest first, as many as asked for. */
  endedClasses(limit, now = Date.now() / 1000) {
    return [...this.classes.values(), ...this.past.values()]
      .filter((row) => row.state === 'ended')
      .sort((a, b) => b.ended - a.ended)
      .slice(0, limit)
      .map((row) => this.classStatus(row, now))
  }

  /** The two ends' nearest edges, and the routes that can be had. */
  routes(row, subject) {
    const n = this.edges.length
    if (n === 0) return []
    const a = Math.floor(chance(row.id, subject, 'edge') * n)
    const b = (a + 1 + (row.index % Math.max(1, n - 1))) % n
    const c = (a + 2) % n
    const name = (i) => this.edges[i].name
    const out = [[name(a), name(b)], [name(b)], [name(c), name(b)]].map((route) => [...new Set(route)])
    return [...new Map(out.map((route) => [route.join(), route])).values()]
  }

  base(row, subject, route) {
    return 38 + chance(row.id, subject, route.join(), 'rtt') * 90 + (route.length - 1) * 22
  }

  /** The window that ends at `t`, or `undefined` where nothing is known. */
  window(row, subject, t) {
    const routes = this.routes(row, subject)
    if (routes.length === 0 || row.fate === 'unknown') return undefined
    if (row.created !== undefined && t - row.created < 2) return undefined
    const slot = Math.floor(t / WINDOW)
    const phase = ((t + row.index * 7) % CYCLE) / CYCLE
    const hit = subject === row.participants[row.participants.length - 1].subject
    let route = routes[0]
    let rtt = this.base(row, subject, route)
    let loss = chance(row.id, subject, slot, 'l') < 0.12 ? 0.002 + chance(slot, subject) * 0.006 : 0
    if (hit && routes.length > 1 && row.fate === 'switch') {
      // The primary turns slow, the standby takes over, and after a while the primary is back.
      if (phase > 0.4 && phase < 0.44) rtt += 170
      if (phase >= 0.44 && phase < 0.8) {
        route = routes[1]
        rtt = this.base(row, subject, route) + 18
      }
    }
    if (hit && row.fate === 'slow' && phase > 0.2) rtt += 140 + 30 * Math.sin(phase * 9)
    if (hit && row.fate === 'gap' && phase > 0.55 && phase < 0.7) return undefined
    let quality = 'good'
    if (hit && row.fate === 'outage' && phase > 0.3) {
      quality = 'outage'
      loss = 1
    }
    const p50 = rtt + (chance(row.id, subject, slot, 'j') - 0.5) * 9
    const p95 = p50 + 6 + chance(row.id, subject, slot, 'p') * 22
    if (quality === 'good' && (row.budget_on === 'one_way' ? p95 / 2 : p95) > row.budget_ms) quality = 'at_risk'
    return {
      at: slot * WINDOW + WINDOW,
      route,
      quality,
      rtt: quality === 'outage' ? undefined : { p50: round(p50), p95: round(p95) },
      up: round(loss, 4),
      down: round(loss / 2, 4),
      jitter: round(1 + chance(row.id, slot, 'jit') * 4),
    }
  }

  /** Sentences and details as the controller writes them. */
  events(row, from, to) {
    const out = []
    const add = (at, kind, subject, text, detail = {}) => {
      if (at >= from && at <= to) out.push({ at: iso(at), kind, class: row.id, subject, text, detail: { text, ...detail } })
    }
    if (row.began === undefined) return out
    const last = row.ended ?? to
    add(row.began, 'created', undefined, `class ${row.id} is created`)
    add(row.began, 'began', undefined, `class ${row.id} has begun`)
    for (const [i, { subject }] of row.participants.entries()) {
      add(row.began + 2 + i * 3, 'joined', subject, `${subject} has joined`)
      const [route] = this.routes(row, subject)
      if (route !== undefined)
        add(row.began + 4 + i * 3, 'plan', subject, `${subject}: plan by ${route.join(' > ')}: best route when the leg began`, {
          route,
          version: 1,
          reason: { kind: 'initial' },
        })
    }
    if (row.ended !== undefined) add(row.ended, 'ended', undefined, `class ${row.id} has ended: ${row.outcome.replace('_', ' ')}`)
    const hit = row.participants[row.participants.length - 1].subject
    const routes = this.routes(row, hit)
    for (let k = Math.floor((Math.max(from, row.began) + row.index * 7) / CYCLE); k <= (Math.min(to, last) + row.index * 7) / CYCLE; k += 1) {
      const at = (phase) => Math.round((k + phase) * CYCLE - row.index * 7)
      const happened = (phase, kind, text, detail) => {
        if (at(phase) >= row.began && at(phase) <= last) add(at(phase), kind, hit, text, detail)
      }
      const switched = (phase, from_, to_, why, reason) =>
        happened(phase, 'switch', `${hit}: route ${from_.join(' > ')} -> ${to_.join(' > ')}: ${why}`, { from: from_, to: to_, reason })
      if (row.fate === 'switch' && routes.length > 1) {
        switched(0.44, routes[0], routes[1], 'its 95th percentile was 287 ms, over the budget of 200 ms', { kind: 'breach' })
        switched(0.8, routes[1], routes[0], 'the other route is 41 ms better', { kind: 'better_by' })
      }
      if (row.fate === 'gap') {
        happened(0.55, 'access_outage', `${hit}: no edge is heard: this machine's own line`)
        happened(0.7, 'access_back', `${hit}: its own line carries again after 45.0 s`)
      }
      if (row.fate === 'outage') {
        happened(0.34, 'lost', `${hit} is lost: nothing is heard from its agent`)
        if (k < Math.floor((last + row.index * 7) / CYCLE)) happened(1, 'back', `${hit} is back`)
      }
    }
    return out.sort((a, b) => (a.at < b.at ? -1 : 1))
  }

  leg(row, participant, now) {
    const routes = this.routes(row, participant.subject)
    if (routes.length === 0) return []
    const window = this.window(row, participant.subject, now - WINDOW)
    const other = row.participants.find((p) => p.role !== participant.role && p.role !== 'observer') ?? row.participants[0]
    const to = row.target !== undefined ? `target:${row.target}` : row.hub !== undefined ? `hub:${row.hub}` : `agent:${other.subject}`
    const [primary, ...standbys] = routes
    const first = row.began === undefined ? undefined : row.began + 4 + row.participants.findIndex((p) => p.subject === participant.subject) * 3
    const reason = `best route when the leg began: ${primary.join(' > ')} (${round(this.base(row, participant.subject, primary), 0)} ms)`
    const switched = this.events(row, row.began ?? now, now).findLast((event) => event.kind === 'switch' && event.subject === participant.subject)
    return [
      {
        to,
        plan: 3 + (row.index % 5),
        primary,
        standbys: standbys.slice(0, 2),
        in_use: window?.route,
        in_use_since: window === undefined ? undefined : (switched?.at ?? (first === undefined ? undefined : iso(first))),
        in_use_reason: window === undefined ? undefined : (switched?.text.split(': ').at(-1) ?? reason),
        rtt_ms: window?.rtt,
        one_way_ms: this.oneWay(row, window?.rtt),
        loss: window === undefined ? undefined : round(1 - (1 - window.up) * (1 - window.down), 4),
        budget_ms: row.target === undefined && row.hub === undefined ? row.budget_ms : row.budget_ms * 0.9,
        switches: row.fate === 'switch' ? 2 * Math.max(0, Math.floor((now - (row.began ?? now)) / CYCLE)) : 0,
        reason,
        reason_detail: { kind: 'initial' },
        direct: row.target === undefined ? undefined : this.direct(row, participant.subject, primary),
        age_s: window === undefined ? undefined : round(Math.max(0, now - window.at), 1),
      },
    ]
  }

  /** The media of every other class: the teacher begins a flow, and in every third of them it is refused a route. */
  flows(row, participant, now) {
    if (row.index % 2 === 1 || row.began === undefined) return undefined
    const [route] = this.routes(row, participant.subject)
    if (route === undefined) return undefined
    const begins = participant.role === 'teacher'
    const sent = Math.max(0, Math.floor((now - row.began - 5) * 50))
    const lost = Math.floor(sent / 5000)
    return [
      {
        id: `00000000${(row.index * 7919).toString(16).padStart(8, '0')}`,
        ends_here: !begins,
        route: begins ? route : route.toReversed(),
        moves: row.fate === 'switch' ? 2 : 0,
        sent,
        sent_bytes: sent * 160,
        received: sent - lost,
        received_bytes: (sent - lost) * 160,
        lost,
        repeated: 0,
        reordered: row.index % 4 === 0 ? 3 : 0,
        dropped: 0,
        undone: begins ? 2 : 0,
        rtt_ms: begins ? 121.4 : undefined,
        lost_there: begins ? lost * 2 : 0,
        too_fast: 0,
        throttled: row.index % 5 === 0 ? 40 : 0,
        is_throttled: begins && row.index % 5 === 0,
        protecting: row.protect === 'always' ? sent : 0,
        refused: begins && row.index % 3 === 0 ? 'the other agent accepts nothing at this port' : undefined,
      },
    ]
  }

  /** What a budget on one way is judged by: every second class's clocks are known well enough. */
  oneWay(row, rtt) {
    if (row.budget_on !== 'one_way' || rtt === undefined) return undefined
    const half = { p50: round(rtt.p50 / 2), p95: round(rtt.p95 / 2) }
    if (row.index % 2 === 0) return half
    return { p50: round(half.p50 + 7.5), p95: round(half.p95 + 7.5), error: 5.2 }
  }

  /** How an agent measures the target itself: every third has a network that lets nothing through. */
  direct(row, subject, primary) {
    const from = `agent:${subject}`
    if (chance(subject, 'direct') < 0.33) return { from, age_s: 6, unmeasured: [{ what: 'stun', why: '0 of 3 answered' }, { what: 'icmp', why: '0 of 3 answered' }] }
    const rtt = this.base(row, subject, primary) * 1.4
    return { from, method: 'stun', bias: 'slightly long: the server answers at the port that takes the media, and its own time is in it', rtt_ms: { p50: round(rtt), p95: round(rtt * 1.3) }, age_s: 3, unmeasured: [] }
  }

  classStatus(row, now) {
    const participants = row.participants.map((participant) => {
      const window = row.state === 'live' ? this.window(row, participant.subject, now - WINDOW) : undefined
      return {
        subject: participant.subject,
        role: participant.role,
        quality: window?.quality ?? 'unknown',
        joined: row.began === undefined ? undefined : iso(row.began + 2),
        left: row.ended === undefined ? undefined : iso(row.ended),
        legs: row.state === 'live' ? this.leg(row, participant, now) : [],
        flows: row.state === 'live' ? this.flows(row, participant, now) : undefined,
      }
    })
    const order = ['good', 'unknown', 'at_risk', 'outage']
    const quality = order[Math.max(...participants.map((p) => order.indexOf(p.quality)))]
    const worst = participants
      .flatMap((p) => p.legs.map((leg) => leg.rtt_ms))
      .filter((rtt) => rtt !== undefined)
      .sort((a, b) => b.p95 - a.p95)[0]
    return {
      id: row.id,
      state: row.state,
      outcome: row.outcome,
      quality: row.state === 'live' ? quality : 'unknown',
      hub: row.hub,
      target: row.target,
      target_links:
        row.target === undefined
          ? []
          : this.edges.slice(0, 2).map(({ name }, i) =>
              i === 0
                ? { from: name, method: 'stun', bias: 'slightly long: the server answers at the port that takes the media, and its own time is in it', rtt_ms: { p50: 11.2, p95: 14.9 }, age_s: 3, unmeasured: [] }
                : { from: name, age_s: 8, unmeasured: [{ what: 'stun', why: '0 of 3 answered' }, { what: 'icmp', why: '1 of 3 answered' }] },
            ),
      budget_ms: row.budget_ms,
      budget_on: row.budget_on,
      protect: row.protect,
      start: row.start === undefined ? undefined : iso(row.start),
      end: row.end === undefined ? undefined : iso(row.end),
      began: row.began === undefined ? undefined : iso(row.began),
      ended: row.ended === undefined ? undefined : iso(row.ended),
      rtt_ms: worst,
      one_way_ms: this.oneWay(row, worst),
      participants,
    }
  }

  agentStatus(subject, classes, i, now) {
    const state = i % 97 === 41 ? 'silent' : i % 211 === 60 ? 'gone' : i % 401 === 77 ? 'revoked' : 'up'
    return {
      subject,
      id: Math.floor(chance(subject) * 2 ** 48).toString(16).padStart(16, '0'),
      state,
      uplink: state === 'up' && this.edges.length > 0 ? this.edges[i % this.edges.length].name : undefined,
      version: i % 13 === 0 ? '0.3.1' : '0.4.0',
      platform: PLATFORMS[i % PLATFORMS.length],
      link_type: LINKS[i % LINKS.length],
      clock_off_s: i % 23 === 5 ? 3 + (i % 400) * (i % 2 === 0 ? 1 : -1) * 9 : undefined,
      tags: { school: `school-${i % 12}` },
      classes,
      last_seen: iso(now - (state === 'up' ? i % 9 : 900)),
      spool_rows: i % 61 === 8 ? 40 + (i % 300) : 0,
      spool_dropped: i % 307 === 8 ? 12 : 0,
    }
  }

  links(now) {
    const out = []
    const up = Math.floor(now - this.started + 90_000)
    for (const [a, from] of this.edges.entries()) {
      for (const [b, to] of this.edges.entries()) {
        if (a === b) continue
        // One pair never measured, one long silent, one lossy one way, one bad at times.
        if (from.name === 'sao' && to.name === 'jnb') continue
        const silent = from.name === 'jnb' && to.name === 'sin'
        const lossy = from.name === 'nyc' && to.name === 'sin'
        const bad = from.name === 'sin' && to.name === 'sao'
        const share = lossy ? 0.03 : bad ? 0.11 : 0.0005
        const rtt = MESH[a][b] + (chance(a, b, Math.floor(now)) - 0.5) * 3
        out.push({
          from: from.name,
          to: to.name,
          window_s: 10,
          sent: up * 10,
          lost: Math.floor(up * 10 * share),
          loss: share < 0.001 ? 0 : share,
          rtt_ms: { p50: round(rtt), p95: round(rtt + 4) },
          owd_ms: round(rtt / 2 + (a < b ? 2.4 : -2.4)),
          owd_error_ms: 1.2,
          jitter_ms: 0.8,
          age_s: silent ? 340 : 2.1,
        })
      }
    }
    return out
  }

  /** Each agent's way to its uplink, both directions. */
  agentLinks(agents, now) {
    return agents
      .filter((agent) => agent.uplink !== undefined)
      .flatMap(({ subject, uplink }, i) => {
        const rtt = 8 + chance(subject, uplink) * 60
        const one = {
          window_s: 60,
          sent: Math.floor(now - this.started + 4000),
          lost: i % 40 === 3 ? 31 : 0,
          loss: 0,
          rtt_ms: { p50: round(rtt), p95: round(rtt * 1.3) },
          age_s: i % 90 === 17 ? 200 : 12,
        }
        return [
          { from: `agent:${subject}`, to: uplink, ...one },
          { from: uplink, to: `agent:${subject}`, ...one },
        ]
      })
  }

  /** A class as JSON. Each is made anew once a window, a tenth of them every second. */
  classText(row, now) {
    const slot = Math.floor((now + (row.index % WINDOW)) / WINDOW)
    if (row.text === undefined || row.slot !== slot || row.created !== undefined) {
      row.slot = slot
      row.text = JSON.stringify(this.classStatus(row, now))
    }
    return row.text
  }

  agentsText(now) {
    const key = `${Math.floor(now / WINDOW)}/${this.changes}`
    if (this.agentsKey !== key) {
      const agents = []
      for (const row of this.classes.values())
        for (const participant of row.participants)
          agents.push(this.agentStatus(participant.subject, row.state === 'live' ? [row.id] : [], agents.length, now))
      for (let i = 0; i < this.spare; i += 1) agents.push(this.agentStatus(`idle-${String(i).padStart(4, '0')}`, [], agents.length, now))
      this.agentsKey = key
      this.agentCount = agents.length
      this.agents = JSON.stringify(agents)
      this.agentLinksText = JSON.stringify(this.agentLinks(agents, now)).slice(1, -1)
    }
    return this.agents
  }

  /** The whole status, as JSON. */
  status(now = Date.now() / 1000) {
    this.reports += 7
    const classes = [...this.classes.values()].map((row) => this.classText(row, now)).join(',')
    const agents = this.agentsText(now)
    const rest = JSON.stringify(this.rest(now))
    const links = [JSON.stringify(this.links(now)).slice(1, -1), this.agentLinksText].filter((text) => text !== '').join(',')
    return `${rest.slice(0, -1)},"links":[${links}],"agents":${agents},"classes":[${classes}]}`
  }

  rest(now) {
    return {
      controller: {
        version: '0.4.0',
        now: iso(now),
        uptime_s: Math.floor(now - this.started + 90_000),
        reports: this.reports,
        repeats: 14,
        store_bytes: 48_300_221,
      },
      edges: this.edges.map((edge, i) => ({
        name: edge.name,
        state: this.drained.has(edge.name) ? 'draining' : edge.name === 'jnb' && Math.floor(now / 60) % 7 === 3 ? 'down' : 'up',
        region: edge.region,
        addresses: [`${edge.name}.example.net:443`, `${edge.name}.example.net:4433`],
        agents: Math.ceil(this.agentCount / this.edges.length) + i,
        cpu: round(0.08 + chance(edge.name, Math.floor(now)) * 0.05, 3),
        rss_bytes: 34_000_000 + i * 1_200_000,
        forwarded: Math.floor((now - this.started + 90_000) * 812 * (i + 1)),
        local_drops: i === 1 ? 42 : 0,
        refused: i === 3 ? 1733 : 2,
        version: '0.4.0',
        last_seen: iso(now - 1),
      })),
    }
  }

  timeline(id, from, to) {
    const row = this.classes.get(id) ?? this.past.get(id)
    if (row === undefined) return undefined
    const now = Date.now() / 1000
    const begin = Math.max(from, row.began ?? to)
    const end = Math.min(to, row.ended ?? to)
    const participants = row.participants.map((participant) => {
      const points = []
      // A window that began before what is asked for belongs to it, one that began before the class does not.
      const first = begin === from ? Math.floor(begin / WINDOW) : Math.ceil(begin / WINDOW)
      for (let slot = first; (slot + 1) * WINDOW <= end; slot += 1) {
        const window = this.window(row, participant.subject, slot * WINDOW)
        if (window === undefined) continue
        points.push({
          at: iso(window.at),
          length_s: WINDOW,
          route: window.route,
          rtt_ms: window.rtt,
          loss_up: window.up,
          loss_down: window.down,
          jitter_ms: window.jitter,
          quality: window.quality,
        })
      }
      return { subject: participant.subject, role: participant.role, points, ...around(end) }
    })
    return {
      class: this.classStatus(row, now),
      from: iso(from),
      to: iso(to),
      participants,
      events: this.events(row, from, to),
    }
  }

  /** Answers an error's `[status, code, message]`, or nothing. */
  create(body) {
    if (!/^[\w.-]{1,64}$/.test(body.id ?? '')) return [422, 'bad_id', 'A class’s id is 1 to 64 letters, digits, dots, dashes and underscores.']
    if (this.classes.has(body.id)) return [409, 'class_exists', `A class '${body.id}' exists already.`]
    const teachers = body.participants.filter((p) => p.role === 'teacher')
    if (teachers.length !== 1) return [422, 'one_teacher', 'A class has one teacher.']
    const unknown = body.participants.find((p) => p.subject.startsWith('nobody'))
    if (unknown !== undefined) return [422, 'unknown_subject', `No agent has the subject '${unknown.subject}'.`]
    if (body.budget_ms > 10_000) return [422, 'bad_request', 'The budget is at most 10,000 ms.']
    const now = Date.now() / 1000
    this.changes += 1
    const start = body.start === undefined ? undefined : Date.parse(body.start) / 1000
    const scheduled = start !== undefined && start > now
    this.classes.set(body.id, {
      id: body.id,
      index: 100_000 + this.classes.size * 1224,
      fate: 'quiet',
      created: now,
      state: scheduled ? 'scheduled' : 'live',
      hub: body.participants.length > 2 && body.target === undefined ? this.edges[0]?.name : undefined,
      target: body.target,
      budget_ms: body.budget_ms ?? 200,
      budget_on: body.budget_on ?? 'round_trip',
      protect: body.protect ?? 'off',
      start,
      end: body.end === undefined ? undefined : Date.parse(body.end) / 1000,
      began: scheduled ? undefined : now,
      participants: body.participants,
    })
    return undefined
  }

  end(id, outcome) {
    const row = this.classes.get(id)
    if (row === undefined) return [404, 'not_found', `There is no class '${id}'.`]
    if (row.state === 'ended') return [409, 'class_ended', `The class '${id}' is over already.`]
    row.outcome = outcome ?? (row.state === 'scheduled' ? 'never_started' : 'completed')
    row.state = 'ended'
    row.ended = Date.now() / 1000
    row.text = undefined
    this.changes += 1
    return undefined
  }
}
