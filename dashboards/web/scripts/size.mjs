// Prints what the built pages weigh, gzipped, and fails above the limit.
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

/** All that a browser may load, in bytes. */
const LIMIT = 200_000

const dist = fileURLToPath(new URL('../dist', import.meta.url))
const files = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name))
  .sort()

let total = 0
for (const file of files) {
  const size = gzipSync(readFileSync(file), { level: 9 }).length
  total += size
  console.log(`${(size / 1000).toFixed(1).padStart(8)} kB  ${relative(dist, file)}`)
}
console.log(`${(total / 1000).toFixed(1).padStart(8)} kB  gzipped in all, of ${LIMIT / 1000} kB allowed`)
if (total > LIMIT) {
  console.error('The pages are too large.')
  process.exitCode = 1
}
