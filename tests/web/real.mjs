// A smoke test of the pages against a running controller with one edge and two agents at least.
//   CORRIDOR_WEB_URL=http://127.0.0.1:8420 CORRIDOR_WEB_PASSWORD=… [CORRIDOR_WEB_NAME=admin] node --test tests/web/real.mjs
// The class is made of the first two agents listed as up, or of CORRIDOR_WEB_TEACHER and CORRIDOR_WEB_STUDENT.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { launch, logIn, open } from './browser.mjs'

const url = process.env.CORRIDOR_WEB_URL
const password = process.env.CORRIDOR_WEB_PASSWORD
const skip = url === undefined || password === undefined ? 'CORRIDOR_WEB_URL and CORRIDOR_WEB_PASSWORD are not set' : false

let browser
let view

before(async () => {
  if (skip) return
  browser = await launch()
  view = await open(browser, { ignoreHTTPSErrors: true })
})
after(() => browser?.close())

/** Asks again until the condition holds; the feed moves once a second. */
async function until(what, holds) {
  for (let i = 0; i < 120; i += 1) {
    const value = await holds()
    if (value !== undefined && value !== false) return value
    await view.page.waitForTimeout(500)
  }
  assert.fail(`never came: ${what}`)
}

test('log in, see an edge and an agent, create a class, see its legs, end it', { skip }, async (context) => {
  const { page, faults } = view
  const response = await page.goto(`${url}/edges`)
  assert.match(response.headers()['content-security-policy'] ?? '', /script-src 'self'(;|$)/)
  await logIn(page, { name: process.env.CORRIDOR_WEB_NAME ?? 'admin', password })

  await page.locator('[data-feed=ok]').waitFor()
  const edge = page.locator('tr[data-edge]').filter({ has: page.locator('[data-tone=ok]') }).first()
  await edge.waitFor()
  context.diagnostic(`edge: ${await edge.getAttribute('data-edge')}`)

  await page.getByRole('link', { name: 'Agents', exact: true }).click()
  const up = page.locator('tr[data-row][data-tone=ok] td:first-child')
  const subjects = await until('two agents that are up', async () => {
    const found = (await up.allTextContents()).map((text) => text.trim())
    return found.length >= 2 ? found : undefined
  })
  const teacher = process.env.CORRIDOR_WEB_TEACHER ?? subjects[0]
  const student = process.env.CORRIDOR_WEB_STUDENT ?? subjects[1]
  context.diagnostic(`teacher ${teacher}, student ${student}`)

  await until('an agent with a live round trip to its edge', async () => {
    const shown = await page.locator('tr[data-row] [data-rtt]').allTextContents()
    return shown.some((text) => /^[\d.,]+ ms$/.test(text.trim()))
  })

  const id = `smoke-${process.pid}-${Date.now().toString(36)}`
  await page.goto(`${url}/new-class`)
  await page.getByLabel('Id', { exact: true }).fill(id)
  await page.getByLabel('Teacher').fill(teacher)
  await page.getByLabel('Students').fill(student)
  await page.getByRole('button', { name: 'Create class' }).click()
  await page.waitForURL(`**/classes/${id}`)

  for (const subject of [teacher, student]) {
    const leg = page.locator(`[data-participant="${subject}"] [data-leg]`).first()
    await until(`a leg of ${subject} with a route in use and a round trip`, async () => {
      if ((await leg.locator('[data-used=yes]').count()) === 0) return undefined
      return /^[\d.,]+ ms$/.test((await leg.locator('[data-rtt]').textContent()).trim())
    })
    assert.notEqual((await leg.locator('[data-reason]').textContent()).trim(), '')
  }

  await page.getByRole('button', { name: 'End class …' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Outcome').selectOption('completed')
  await dialog.getByRole('button', { name: 'End class' }).click()
  await dialog.waitFor({ state: 'hidden' })
  await page.locator('.head').getByText('Completed').waitFor()
  assert.deepEqual(faults, [])
})
