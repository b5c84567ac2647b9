// Runs one scenario of HubSpot's own client against an emulator and prints what the client told its caller, as JSON lines.
// node run.mjs SCENARIO HOST TOKEN
import http from 'node:http'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { AssociationTypes, Client, Signature } = require('@hubspot/api-client')
const [scenario, basePath, accessToken] = process.argv.slice(2)
const say = (what, value = null) => console.log(JSON.stringify({ what, value }))
const hubspot = new Client({ accessToken, basePath, numberOfApiCallRetries: 3 })
const { contacts, deals, lists, pipelines, properties } = hubspot.crm
const contact = values => ({ properties: values, associations: [] })

async function refused(call) {
  try {
    await call()
    say('refused', false)
  } catch (error) {
    say('refused', { code: error.code, category: error.body?.category ?? null, message: error.body?.message ?? String(error) })
  }
}

const scenarios = {
  async records() {
    const made = await contacts.basicApi.create(contact({ email: 'Ann@Example.com', firstname: 'Ann' }))
    say('made', { id: made.id, email: made.properties.email, created: made.createdAt instanceof Date })
    await refused(() => contacts.basicApi.create(contact({ email: 'ann@example.com' })))
    await refused(() => contacts.basicApi.create(contact({ email: 'no address' })))
    await contacts.basicApi.update('ann@example.com', { properties: { firstname: 'Anna' } }, 'email')
    const read = await contacts.basicApi.getById('ann@example.com', ['firstname'], ['firstname'], undefined, false, 'email')
    say('read', { id: read.id, firstname: read.properties.firstname, history: read.propertiesWithHistory.firstname.map(one => one.value) })
    const all = await contacts.getAll(100)
    say('all', all.map(one => one.id))
    await contacts.basicApi.archive(made.id)
    await refused(() => contacts.basicApi.getById(made.id))
  },
  async archive() {
    const one = await contacts.basicApi.create(contact({ email: 'one@example.com' }))
    const two = await contacts.basicApi.create(contact({ email: 'two@example.com' }))
    await contacts.batchApi.archive({ inputs: [{ id: one.id }, { id: '999999' }] })
    await contacts.batchApi.archive({ inputs: [{ id: one.id }] })
    await refused(() => contacts.basicApi.getById(one.id))
    const gone = await contacts.basicApi.getById(one.id, undefined, undefined, undefined, true)
    const again = await contacts.basicApi.create(contact({ email: 'one@example.com' }))
    say('archived', { archived: gone.archived, again: again.id !== one.id, left: (await contacts.getAll(100)).map(each => each.id).sort().join() === [two.id, again.id].sort().join() })
  },
  async upsert() {
    await properties.coreApi.create('contacts', { name: 'streamcdp_id', label: 'StreamCdp', groupName: 'contactinformation', type: 'string', fieldType: 'text', hasUniqueValue: true })
    await contacts.basicApi.create(contact({ email: 'taken@example.com' }))
    const inputs = [
      { id: 'p1', idProperty: 'streamcdp_id', objectWriteTraceId: 't1', properties: { email: 'one@example.com' } },
      { id: 'p2', idProperty: 'streamcdp_id', objectWriteTraceId: 't2', properties: { email: 'taken@example.com' } },
    ]
    const first = await contacts.batchApi.upsert({ inputs })
    say('first', { status: first.status, results: first.results.map(one => [one.objectWriteTraceId, one._new]), errors: first.errors.map(one => [one.category, one.context.objectWriteTraceId[0]]) })
    const again = await contacts.batchApi.upsert({ inputs: [inputs[0]] })
    say('again', { results: again.results.map(one => one._new), hasErrors: again.errors !== undefined })
    await refused(() => contacts.batchApi.upsert({ inputs: [{ ...inputs[0], properties: { no_such: '1' } }] }))
  },
  async search() {
    for (let i = 0; i < 12; i++) {
      await contacts.basicApi.create(contact({ email: `c${i}@example.com`, city: i % 2 ? 'Rome' : 'Oslo' }))
    }
    const query = { filterGroups: [{ filters: [{ propertyName: 'city', operator: 'EQ', value: 'Rome' }] }], sorts: ['-email'], properties: ['email'], limit: 4 }
    const first = await contacts.searchApi.doSearch(query)
    const second = await contacts.searchApi.doSearch({ ...query, after: first.paging.next.after })
    say('found', { total: first.total, emails: [...first.results, ...second.results].map(one => one.properties.email), isLast: second.paging === undefined })
    await refused(() => contacts.searchApi.doSearch({ limit: 4, after: '8' }))
    await refused(() => contacts.searchApi.doSearch({ limit: 201 }))
  },
  async limited() {
    const begin = Date.now()
    const page = await contacts.basicApi.getPage(10)
    say('waited', { ms: Date.now() - begin, results: page.results.length })
  },
  async daily() {
    await refused(() => contacts.basicApi.getPage(10))
  },
  async merge() {
    const winner = await contacts.basicApi.create(contact({ email: 'w@example.com' }))
    const loser = await contacts.basicApi.create(contact({ email: 'l@example.com', city: 'Oslo' }))
    const merged = await contacts.basicApi.merge({ primaryObjectId: winner.id, objectIdToMerge: loser.id })
    const read = await contacts.basicApi.getById(loser.id, ['city', 'hs_additional_emails', 'hs_merged_object_ids'])
    say('merged', { isNew: merged.id !== winner.id && merged.id !== loser.id, follows: read.id === merged.id, city: read.properties.city, more: read.properties.hs_additional_emails, losers: read.properties.hs_merged_object_ids.split(';').sort().join() === [winner.id, loser.id].sort().join() })
  },
  async deals() {
    const ann = await contacts.basicApi.create(contact({ email: 'ann@example.com' }))
    const bob = await contacts.basicApi.create(contact({ email: 'bob@example.com' }))
    const all = await pipelines.pipelinesApi.getAll('deals')
    const won = all.results[0].stages.find(stage => stage.metadata.isClosed === 'true' && stage.metadata.probability === '1.0')
    const deal = await deals.basicApi.create({ properties: { dealname: 'Engine', dealstage: won.id, pipeline: all.results[0].id, amount: '1250.50' }, associations: [{ to: { id: ann.id }, types: [{ associationCategory: 'HUBSPOT_DEFINED', associationTypeId: 3 }] }] })
    await hubspot.crm.associations.v4.basicApi.createDefault('deals', deal.id, 'contacts', bob.id)
    const linked = await hubspot.crm.associations.v4.batchApi.getPage('deals', 'contacts', { inputs: [{ id: deal.id }] })
    say('linked', linked.results[0].to.map(one => String(one.toObjectId)).sort().join() === [ann.id, bob.id].sort().join())
    const page = await deals.basicApi.getPage(10, undefined, ['dealstage'], undefined, ['contacts'])
    say('page', { stage: page.results[0].properties.dealstage, linked: page.results[0].associations.contacts.results.length })
    await hubspot.crm.associations.v4.batchApi.archive('deals', 'contacts', { inputs: [{ _from: { id: deal.id }, to: [{ id: ann.id }] }] })
    const left = await hubspot.crm.associations.v4.batchApi.getPage('deals', 'contacts', { inputs: [{ id: deal.id }] })
    say('left', left.results[0].to.length)
  },
  async activities() {
    const { calls, emails, meetings, notes, tasks } = hubspot.crm.objects
    const hs_timestamp = '2026-11-25T10:00:00.000Z'
    const ann = await contacts.basicApi.create(contact({ email: 'ann@example.com' }))
    const to = type => [{ to: { id: ann.id }, types: [{ associationCategory: 'HUBSPOT_DEFINED', associationTypeId: type }] }]
    await refused(() => calls.basicApi.create({ properties: { hs_call_title: 'Without a time' }, associations: [] }))
    const call = await calls.basicApi.create({ properties: { hs_timestamp, hs_call_title: 'Demo', hs_call_body: 'secret', hs_call_direction: 'OUTBOUND', hs_call_duration: '90000' }, associations: to(AssociationTypes.callToContact) })
    const found = await calls.searchApi.doSearch({ filterGroups: [{ filters: [{ propertyName: 'hs_lastmodifieddate', operator: 'GTE', value: '0' }] }], sorts: ['hs_lastmodifieddate'], properties: ['hs_call_title', 'hs_call_body'], limit: 10 })
    const linked = await hubspot.crm.associations.v4.batchApi.getPage('calls', 'contacts', { inputs: [{ id: call.id }] })
    const back = await hubspot.crm.associations.v4.batchApi.getPage('contacts', 'calls', { inputs: [{ id: ann.id }] })
    say('call', { title: found.results[0].properties.hs_call_title, body: found.results[0].properties.hs_call_body, linked: [String(linked.results[0].to[0].toObjectId) === ann.id, String(back.results[0].to[0].toObjectId) === call.id] })
    const made = [
      await emails.basicApi.create({ properties: { hs_timestamp, hs_email_subject: 'Re: Demo', hs_email_direction: 'INCOMING_EMAIL' }, associations: to(AssociationTypes.emailToContact) }),
      await meetings.basicApi.create({ properties: { hs_timestamp, hs_meeting_title: 'Demo' }, associations: to(AssociationTypes.meetingToContact) }),
      await notes.basicApi.create({ properties: { hs_timestamp, hs_note_body: 'secret' }, associations: to(AssociationTypes.noteToContact) }),
      await tasks.basicApi.create({ properties: { hs_timestamp, hs_task_subject: 'Call Ann' }, associations: to(AssociationTypes.taskToContact) }),
    ]
    const names = [['emails', emails, 'hs_email_subject'], ['meetings', meetings, 'hs_meeting_title'], ['tasks', tasks, 'hs_task_subject']]
    const kinds = []
    for (const [, api, name] of names) {
      kinds.push((await api.basicApi.getPage(10, undefined, [name])).results[0].properties[name])
    }
    const types = []
    for (const [index, kind] of ['emails', 'meetings', 'notes', 'tasks'].entries()) {
      const page = await hubspot.crm.associations.v4.batchApi.getPage(kind, 'contacts', { inputs: [{ id: made[index].id }] })
      types.push(page.results[0].to[0].associationTypes[0].typeId)
    }
    say('others', { kinds, types })
    const disposition = await properties.coreApi.getByName('calls', 'hs_call_disposition')
    say('label', disposition.options[0].label)
  },
  async lists() {
    const ann = await contacts.basicApi.create(contact({ email: 'ann@example.com' }))
    const made = await lists.listsApi.create({ name: 'Big spenders', objectTypeId: '0-1', processingType: 'MANUAL' })
    const found = await lists.listsApi.getByName('Big spenders', '0-1')
    await refused(() => lists.listsApi.create({ name: 'Big spenders', objectTypeId: '0-1', processingType: 'MANUAL' }))
    const change = await lists.membershipsApi.addAndRemove(made.list.listId, { recordIdsToAdd: [ann.id, '999999'], recordIdsToRemove: [] })
    const page = await lists.membershipsApi.getPage(made.list.listId)
    say('list', { same: made.list.listId === found.list.listId, added: change.recordsIdsAdded.length, missing: change.recordIdsMissing, members: page.results.map(one => one.recordId === ann.id) })
  },
  async oauth() {
    const token = await new Client({ basePath }).oauth.tokensApi.create('refresh_token', undefined, undefined, 'client-of-the-tests', 'secret-of-the-tests', 'refresh-of-the-tests')
    hubspot.setAccessToken(token.accessToken)
    say('token', { seconds: token.expiresIn, works: (await contacts.basicApi.getPage(10)).results.length })
  },
  async signature() {
    const server = http.createServer((request, response) => {
      const parts = []
      request.on('data', part => parts.push(part))
      request.on('end', () => {
        const requestBody = Buffer.concat(parts).toString()
        const url = `http://${request.headers.host}${request.url}`
        const isValid = secret => Signature.isValid({ signatureVersion: 'v3', method: request.method, clientSecret: secret, requestBody, url, signature: request.headers['x-hubspot-signature-v3'], timestamp: Number(request.headers['x-hubspot-request-timestamp']) })
        say('webhook', { isValid: isValid('secret-of-the-tests'), isValidWithAnother: isValid('another'), events: JSON.parse(requestBody).length })
        response.end()
        server.close()
      })
    })
    await new Promise(done => server.listen(0, '127.0.0.1', done))
    say('listening', `http://127.0.0.1:${server.address().port}/hook?tenant=1`)
    await new Promise(done => server.on('close', done))
  },
}

await scenarios[scenario]()
say('done')
process.exit(0)
