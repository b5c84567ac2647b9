// Runs one scenario of a real SDK against a collector and prints what the SDK told its caller, as JSON lines.
// node run.mjs SCENARIO HOST KEY
import { createRequire } from 'node:module'
import { Analytics } from '@segment/analytics-node'

const require = createRequire(import.meta.url)
const [scenario, host, writeKey] = process.argv.slice(2)
const say = (what, value = null) => console.log(JSON.stringify({ what, value }))

function segment(settings = {}) {
  const analytics = new Analytics({ writeKey, host, ...settings })
  analytics.on('error', error => say('error', { code: error.code, reason: String(error.reason) }))
  analytics.on('http_request', request => say('request', { url: request.url, retry: request.headers['X-Retry-Count'] ?? null }))
  return analytics
}

const scenarios = {
  async 'segment-calls'() {
    const analytics = segment()
    analytics.identify({ userId: 'u1', anonymousId: 'a1', traits: { email: 'Ann@Example.com' } })
    analytics.track({ userId: 'u1', event: 'Order Completed', properties: { revenue: 12.5 }, timestamp: new Date('2026-01-02T03:04:05.678Z') })
    analytics.page({ anonymousId: 'a1', name: 'Home' })
    analytics.screen({ anonymousId: 'a1', name: 'Cart' })
    analytics.group({ userId: 'u1', groupId: 'g1', traits: { name: 'Acme' } })
    analytics.alias({ userId: 'u1', previousId: 'a0' })
    await analytics.closeAndFlush()
  },
  async 'segment-one'() {
    const analytics = segment({ maxRetries: 3 })
    analytics.track({ userId: 'u1', event: 'Once' })
    await analytics.closeAndFlush({ timeout: 20000 })
  },
  async 'segment-large'() {
    const analytics = segment({ flushAt: 15 })
    for (let i = 0; i < 15; i++) {
      analytics.track({ userId: 'u1', event: `E${i}`, properties: i === 7 ? { text: 'x'.repeat(40000) } : {} })
    }
    await analytics.closeAndFlush()
  },
  async 'segment-life'() {
    const analytics = segment({ maxRetries: 60, flushAt: 5, flushInterval: 200 })
    analytics.track({ anonymousId: 'a0', event: 'Order Completed', properties: { revenue: 1 } })
    analytics.track({ anonymousId: 'a1', event: 'Order Completed', properties: { revenue: 1 } })
    analytics.identify({ userId: 'u1', anonymousId: 'a1', traits: { email: 'ann@example.com', plan: 'pro' } })
    for (let i = 0; i < 40; i++) {
      analytics.track({ userId: 'u1', event: 'Order Completed', properties: { revenue: 1 } })
      await new Promise(done => setTimeout(done, 50))
    }
    analytics.alias({ userId: 'u1', previousId: 'a0' })
    await analytics.closeAndFlush({ timeout: 60000 })
  },
  async 'rudder-calls'() {
    const Rudder = require('@rudderstack/rudder-sdk-node')
    const client = new (Rudder.default ?? Rudder)(writeKey, { dataPlaneUrl: host, flushAt: 20, logLevel: 'error' })
    client.identify({ userId: 'u1', anonymousId: 'a1', traits: { email: 'ann@example.com' } })
    client.track({ userId: 'u1', event: 'Order Completed', properties: { revenue: 12.5 } })
    client.page({ anonymousId: 'a1', name: 'Home' })
    client.alias({ userId: 'u1', previousId: 'a0' })
    await new Promise(done => client.flush(done))
    await new Promise(done => setTimeout(done, 500))
    await new Promise(done => client.flush(done))
  },
  async 'jitsu-calls'() {
    const { jitsuAnalytics } = require('@jitsu/js')
    const jitsu = jitsuAnalytics({ host, writeKey, debug: false })
    await jitsu.page({ name: 'Home' })
    await jitsu.identify('u1', { email: 'ann@example.com' })
    await jitsu.track('Order Completed', { revenue: 12.5 })
    await new Promise(done => setTimeout(done, 500))
  },
}

await scenarios[scenario]()
say('done')
process.exit(0)
