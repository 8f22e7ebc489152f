/** Numbers as people read them. What is unknown is a dash, never 0. */
export const UNKNOWN = '–'

const grouped = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 })

/** Milliseconds: two significant digits below 10, whole from 10 on. */
export function ms(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return UNKNOWN
  if (value >= 9.95) return `${grouped.format(value)} ms`
  return `${value.toFixed(value >= 0.995 ? 1 : 2)} ms`
}

/** A share of 1 as a percentage; a share that is not 0 never reads as 0. */
export function percent(share: number | undefined): string {
  if (share === undefined || !Number.isFinite(share)) return UNKNOWN
  const value = share * 100
  if (value === 0) return '0 %'
  if (value < 0.1) return '<0.1 %'
  return value < 9.95 ? `${value.toFixed(1)} %` : `${value.toFixed(0)} %`
}

/** A whole number with its thousands apart. */
export function count(value: number | undefined): string {
  return value === undefined ? UNKNOWN : grouped.format(value)
}

/** Large counters: 1,234 as it is, 12.3 k, 4.5 M, 6.7 G. */
export function compact(value: number | undefined): string {
  if (value === undefined) return UNKNOWN
  if (value < 10_000) return grouped.format(value)
  for (const [unit, size] of [['k', 1e3], ['M', 1e6], ['G', 1e9]] as const) {
    const scaled = value / size
    if (scaled < 999.5 || unit === 'G') return `${scaled < 99.95 ? scaled.toFixed(1) : scaled.toFixed(0)} ${unit}`
  }
  return grouped.format(value)
}

/** Bytes, decimal. */
export function bytes(value: number | undefined): string {
  if (value === undefined) return UNKNOWN
  if (value < 1000) return `${value} B`
  for (const [unit, size] of [['kB', 1e3], ['MB', 1e6], ['GB', 1e9]] as const) {
    const scaled = value / size
    if (scaled < 999.5 || unit === 'GB') return `${scaled < 9.95 ? scaled.toFixed(1) : scaled.toFixed(0)} ${unit}`
  }
  return `${value} B`
}
