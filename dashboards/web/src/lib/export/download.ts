/** Hands the browser a file to save. */
export function download(name: string, type: 'text/csv' | 'application/json', text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

/** A file's name with the time in it: `corridor-classes-20261122T140309Z.csv`. */
export function fileName(what: string, extension: string, now: Date): string {
  const stamp = now.toISOString().replaceAll(/[-:]|\.\d+/g, '')
  return `corridor-${what.replaceAll(/[^\w.-]/g, '_')}-${stamp}.${extension}`
}
