using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

/// <summary>What a person reads who wrote something wrong: each message with its exact place.</summary>
public sealed class WrongModelTests
{
    public static TheoryData<string, string[]> Models => new()
    {
        { "", ["1:1: the model is empty; expected sections such as sources, identifiers, segments"] },
        { "# only a comment", ["1:1: the model is empty; expected sections such as sources, identifiers, segments"] },
        { "- a", ["1:1: expected a mapping of sections such as sources, identifiers, segments"] },
        { "just text", ["1:1: expected a mapping of sections such as sources, identifiers, segments"] },
        { "sorces: []", ["1:1: the model has no key \"sorces\"; did you mean \"sources\"?"] },
        { "colours: []", ["1:1: the model has no key \"colours\"; known are sources, api_keys, identifiers, traits, computed, segments, destinations, privacy, backfill"] },
        {
            """
            sources: []
            sources: []
            """,
            ["2:1: the key \"sources\" is given twice"]
        },
        { "sources: { id: web }", ["1:10: sources is a list, found a mapping"] },
        { "sources: [ web ]", ["1:12: a source is a mapping such as { id: web, write_key: env:WEB_WRITE_KEY, kind: website }, found \"web\""] },
        { "sources: [ { kind: website } ]", ["1:12: a source needs id"] },
        { "sources: [ { id: web } ]", ["1:12: a source needs kind"] },
        { "sources: [ { id: web, kind: website }, { id: web, kind: app } ]", ["1:46: there is already a source with the id \"web\""] },
        { "sources: [ { id: my web, kind: website } ]", ["1:18: id \"my web\" is not allowed; allowed are 1 to 100 of A-Z a-z 0-9 _ - ."] },
        { "sources: [ { id: web, kind: webiste } ]", ["1:29: there is no kind of source called \"webiste\"; did you mean \"website\"?"] },
        { "sources: [ { id: web, kind: website, write_kye: x } ]", ["1:38: a source has no key \"write_kye\"; did you mean \"write_key\"?"] },
        { "sources: [ { id: web, kind: website, trust: publik } ]", ["1:45: expected trust to be public or server, found \"publik\"; did you mean \"public\"?"] },
        { "sources: [ { id: web, kind: website, write_key: env:MISSING } ]", ["1:49: the environment variable MISSING is not set; write_key needs it"] },
        { "sources: [ { id: web, kind: website, write_key: env:EMPTY } ]", ["1:49: the environment variable EMPTY is empty; write_key needs it"] },
        { "sources: [ { id: web, kind: website, write_key: \"env:\" } ]", ["1:49: expected the name of an environment variable after env:"] },
        { "sources: [ { id: web, kind: website, write_key: \"\" } ]", ["1:49: write_key is text, found nothing"] },
        { "sources: [ { id: web, kind: website, write_key: [a] } ]", ["1:49: write_key is text, found a list"] },
        {
            """
            sources:
              - { id: web, kind: website, write_key: same }
              - { id: app, kind: app, write_key: same }
            """,
            ["3:38: this write_key is the same as the one in line 2; each needs its own"]
        },
        {
            """
            sources: [ { id: web, kind: website, write_key: env:SET } ]
            api_keys: [ { id: ops, key: env:SET, scopes: [read] } ]
            """,
            ["2:29: this key is the same as the one in line 1; each needs its own"]
        },
        { "api_keys: [ { id: ops, scopes: [read] } ]", ["1:13: an API key needs key"] },
        { "api_keys: [ { id: ops, key: a } ]", ["1:13: an API key needs scopes, such as [read]"] },
        { "api_keys: [ { id: ops, key: a, scopes: [] } ]", ["1:40: an API key needs scopes, such as [read]"] },
        { "api_keys: [ { id: ops, key: a, scopes: [raed] } ]", ["1:41: expected a scope of read, write, admin, found \"raed\"; did you mean \"read\"?"] },
        { "api_keys: [ { id: ops, key: \"\", scopes: [read] } ]", ["1:29: key is text, found nothing"] },
        { "api_keys: [ { id: ops, key: a, scopes: [read] }, { id: ops, key: b, scopes: [write] } ]", ["1:56: there is already an API key with the id \"ops\""] },
        { "identifiers: []", ["1:14: identifiers needs one type at least; without the section there are user_id, email, phone and anonymous_id"] },
        { "identifiers: [ { limit: 1 } ]", ["1:16: an identifier needs type"] },
        { "identifiers: [ { type: group_id } ]", ["1:24: group_id is refused: a group is never a person's identifier"] },
        { "identifiers: [ { type: user_id }, { type: user_id } ]", ["1:43: the identifier type \"user_id\" is given twice"] },
        { "identifiers: [ { type: user_id, limit: 0 } ]", ["1:40: expected limit to be a whole number from 1, found \"0\""] },
        { "identifiers: [ { type: user_id, limit: many } ]", ["1:40: expected limit to be a whole number from 1, found \"many\""] },
        { "identifiers: [ { type: user_id, limit: 1.5 } ]", ["1:40: expected limit to be a whole number from 1, found \"1.5\""] },
        { "identifiers: [ { type: email, normalize: emial } ]", ["1:42: expected normalize to be email or e164 or none, found \"emial\"; did you mean \"email\"?"] },
        { "identifiers: [ { type: email, from: [trait.email] } ]", ["1:38: expected a path that begins with traits, context or properties, found \"trait\"; did you mean \"traits\"?"] },
        { "identifiers: [ { type: email, from: [traits] } ]", ["1:38: expected a name after traits, such as traits.email"] },
        { "identifiers: [ { type: email, from: [\"traits.a b\"] } ]", ["1:48: expected the end of the path, found \"b\""] },
        { "identifiers: [ { type: email, from: ['traits[\"a\"'] } ]", ["1:49: expected ], found the end"] },
        { "identifiers: [ { type: email, from: { a: b } } ]", ["1:37: from is a list, found a mapping"] },
        { "identifiers: [ { type: phone, normalize: e164, default_country: Germany } ]", ["1:65: expected default_country to be a region such as DE, found \"Germany\""] },
        { "identifiers: [ { type: phone, normalize: e164, default_country: de } ]", ["1:65: expected default_country to be a region such as DE, found \"de\"; did you mean \"DE\"?"] },
        { "identifiers: [ { type: phone, default_country: DE } ]", ["1:48: default_country goes only with normalize: e164"] },
        { "identifiers: [ { type: email, merge_by: sever } ]", ["1:41: expected merge_by to be server, found \"sever\"; did you mean \"server\"?"] },
        { "identifiers: [ { type: email, shared: latest } ]", ["1:39: shared: latest is not yet evaluated by this version"] },
        { "identifiers: [ { type: email, blocked: [\"/(/\"] } ]", ["1:41: the pattern /(/ is not allowed: insufficient closing parentheses after 1 signs"] },
        { "identifiers: [ { type: email, blocked: [\"/(?=a)b/\"] } ]", ["1:41: the pattern /(?=a)b/ is not allowed: lookarounds, back references and atomic groups are not supported, or it is too large"] },
        { "identifiers: [ { type: email, blocked: [\"//\"] } ]", ["1:41: a blocked pattern is not empty"] },
        { "identifiers: [ { type: email, blocked: [[a]] } ]", ["1:41: a blocked value is text, found a list"] },
        { "identifiers: [ { type: email, blocked_defaults: no } ]", ["1:49: expected blocked_defaults to be true or false, found \"no\""] },
        { "identifiers: [ { type: email, limits: 3 } ]", ["1:31: an identifier has no key \"limits\"; did you mean \"limit\"?"] },
        { "traits: [ plan ]", ["1:9: traits is a mapping, found a list"] },
        { "traits: { plan: latest }", ["1:17: a trait is a mapping such as { merge: latest, prefer: [crm, web] }, found \"latest\""] },
        { "traits: { plan: { merge: newest } }", ["1:26: expected merge to be latest or first or min or max or union, found \"newest\""] },
        { "traits: { plan: { merge: lates } }", ["1:26: expected merge to be latest or first or min or max or union, found \"lates\"; did you mean \"latest\"?"] },
        { "traits: { plan: { prefer: [crn] } }", ["1:28: there is no source and no kind of source called \"crn\"; did you mean \"crm\"?"] },
        { "traits: { plan: { prefer: [crm, crm] } }", ["1:33: \"crm\" is preferred twice"] },
        { "traits: { plan: { merge: max, prefer: [crm] } }", ["1:39: prefer goes only with merge: latest"] },
        { "traits: { plan: { from: contxt.campaign } }", ["1:25: expected a path that begins with traits, context or properties, found \"contxt\"; did you mean \"context\"?"] },
        { "computed: { a: 'count(\"A\")' }", ["1:16: a computed trait is a mapping such as { value: 'count(\"Order Completed\", within: 90d)' }, found \"count(\"A\")\""] },
        { "computed: { a: { valu: 'count(\"A\")' } }", ["1:16: a computed trait needs value", "1:18: a computed trait has no key \"valu\"; did you mean \"value\"?"] },
        { "computed: { \"a b\": { value: 'count(\"A\")' } }", ["1:13: the name \"a b\" of a computed trait is not allowed; allowed are 1 to 100 of A-Z a-z 0-9 _ - ."] },
        { "computed: { a: { value: now } }", ["1:25: a computed trait is a function, a path or a condition, not now"] },
        { "computed: { a: { value: computed.b }, b: { value: computed.c }, c: { value: computed.a } }", ["1:34: the computed traits use each other in a circle: a → b → c → a"] },
        { "computed: { a: { value: computed.a } }", ["1:34: a uses itself"] },
        { "computed: { orders: { value: count(\"A\") }, b: { value: computed.order } }", ["1:65: there is no computed trait called \"order\"; did you mean \"orders\"?"] },
        {
            """
            computed: { a: { value: in_segment("s") } }
            segments: { s: { when: traits.x exists } }
            """,
            ["1:36: in_segment is only for segments: computed traits are evaluated before them"]
        },
        {
            """
            computed: { a: { value: count("A") } }
            segments: { s: { when: computed.a == "5" } }
            """,
            ["2:38: == of computed.a (a number) and the text \"5\" is never true: the types differ; did you mean 5 without quotes?"]
        },
        {
            """
            computed: { a: { value: 'last("A", properties.x)' } }
            segments: { s: { when: computed.a } }
            """,
            ["2:24: when must be a condition, found computed.a; compare it, such as computed.a == true"]
        },
        { "segments: { s: { name: x } }", ["1:16: a segment needs when"] },
        { "segments: { s: { when: traits.x exists, whn: 1 } }", ["1:41: a segment has no key \"whn\"; did you mean \"when\"?"] },
        { "segments: { s: { when: [a] } }", ["1:24: when is text, found a list"] },
        { "segments: { s: { when: traits.x exists, name: } }", ["1:47: name is text, found nothing"] },
        { "segments: { big_spenders: { when: traits.x exists }, b: { when: in_segment(\"big_spender\") } }", ["1:76: there is no segment with the id \"big_spender\"; did you mean \"big_spenders\"?"] },
        { "segments: { a: { when: in_segment(\"b\") }, b: { when: in_segment(\"c\") or in_segment(\"a\") }, c: { when: traits.x exists } }", ["1:35: the segments use each other in a circle: a → b → a"] },
        { "segments: { a: { when: not in_segment(\"a\") } }", ["1:39: a uses itself"] },
        { "segments: { a: { when: identifiers.emial exists } }", ["1:36: there is no identifier type called \"emial\"; did you mean \"email\"?"] },
        { "destinations: { id: hook }", ["1:15: destinations is a list, found a mapping"] },
        { "destinations: [ hook ]", ["1:17: a destination is a mapping such as { id: hook, kind: webhook, url: https://example.com/hook, secret: env:HOOK_SECRET }, found \"hook\""] },
        { "destinations: [ { id: hook, kind: webhook } ]", ["1:17: a destination needs url", "1:17: a webhook needs secret"] },
        { "destinations: [ { id: hook, kind: webhok, url: \"https://a.example/h\", secret: env:SET } ]", ["1:35: there is no kind of destination called \"webhok\"; did you mean \"webhook\"?"] },
        { "destinations: [ { id: hook, kind: fax, url: \"https://a.example/h\", secret: env:SET } ]", ["1:35: there is no kind of destination called \"fax\"; known are webhook, kafka, file, hubspot, tryton, email"] },
        { "destinations: [ { id: hook, kind: webhook, url: \"https://a.example/h\", secret: plain } ]", ["1:80: expected secret to be the name of an environment variable, such as env:HOOK_SECRET: the file is no place for a secret"] },
        { "destinations: [ { id: hook, kind: webhook, url: \"https://a.example/h\", secret: env:MISSING } ]", ["1:80: the environment variable MISSING is not set; secret needs it"] },
        { "destinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET } ]", ["1:23: a CRM brings events, too: add { id: crm, kind: crm } to sources", "1:23: its contacts need an identifier: add { type: tryton_contact_id, limit: 100 } to identifiers, after those that name a person"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", secret: env:SET } ]", ["3:17: a Tryton needs user"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, poll: 100 } ]", ["3:105: expected poll to be 1s to 1h, found \"100\""] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, contacts: { fields: { n: { value: computed.x, direction: in } } } } ]", ["3:142: there is no computed trait called \"x\"", "3:156: computed.x is made by StreamCdp, so it only goes out; write direction: out, or leave it away"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, contacts: { fields: { n: { value: segments, direction: both } } } } ]", ["3:154: segments is made by StreamCdp, so it only goes out; write direction: out, or leave it away"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, contacts: { fields: { n: traits.a.b } } } ]", ["3:124: a trait is replaced whole, so traits.a.b cannot come from a CRM alone; map it to a trait of its own, or write direction: out"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, contacts: { fields: { n: { value: traits.a, policy: mine } } } } ]", ["3:151: expected policy to be crm_wins or streamcdp_wins or newest or fill_empty, found \"mine\""] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, contacts: { fields: { n: { value: identifiers.tryton_contact_id, policy: newest } } } } ]", ["3:172: an identifier is never replaced, on neither side: only policy: fill_empty is allowed"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, contacts: { create: [ buyers ] } } ]", ["3:121: there is no segment with the id \"buyers\""] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, segments: [ a ] } ]", ["3:99: a destination has no key \"segments\"; known are id, kind, url, user, secret, contacts, start, poll, reconcile, delete, api_version, activities, webhook, allow_http, at_most, actions, rate, timeout, purpose"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, api_version: v3 } ]", ["3:112: tryton has no api_version"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: hubspot_contact_id } ]\nsegments: { a: { when: 'traits.a == 1' } }\ndestinations: [ { id: crm, kind: hubspot, secret: env:SET, actions: [ { id: c, on: { entered: a }, create: campaign_member } ] } ]", ["4:108: hubspot has no campaign members: put the person on a static list, which a campaign can take up: add_to and its name"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, activities: [ call ] } ]", ["3:113: tryton has note, found \"call\""] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: hubspot_contact_id } ]\ndestinations: [ { id: crm, kind: hubspot, secret: env:SET, activities: [ call, notes, call ] } ]", ["3:80: hubspot has call, email, meeting, note, task, found \"notes\"; did you mean \"note\"?", "3:87: \"call\" is given twice in activities"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: hubspot_contact_id } ]\ndestinations: [ { id: crm, kind: hubspot, secret: env:SET, activities: [] } ]", ["3:72: expected activities to name some of call, email, meeting, note, task, found nothing"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\nprivacy: { consent: { sales: traits.ok } }\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, purpose: sales, delete: all } ]", ["4:123: delete is a mapping such as { without_consent: true, at_most: 100 }, found \"all\""] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\nprivacy: { consent: { sales: traits.ok } }\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, delete: { without_consent: true } } ]", ["4:107: whose contact is to be deleted, the consent says: add purpose, one of privacy.consent"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\nprivacy: { consent: { sales: traits.ok } }\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, purpose: sales, delete: { at_most: 5 } } ]", ["4:123: delete needs without_consent"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\nprivacy: { consent: { sales: traits.ok } }\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, purpose: sales, delete: { without_consent: yes } } ]", ["4:142: expected without_consent to be true or false, found \"yes\""] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\nprivacy: { consent: { sales: traits.ok } }\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, purpose: sales, delete: { without_consent: true, at_most: 0 } } ]", ["4:157: expected at_most to be a whole number from 1 to 1000, found \"0\""] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\nprivacy: { consent: { sales: traits.ok } }\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, purpose: sales, delete: { without_consent: true, per: day } } ]", ["4:148: delete has no key \"per\"; known are without_consent, at_most"] },
        { "sources: [ { id: crm, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations: [ { id: crm, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET, start: later } ]", ["3:106: expected start to be paused or running, found \"later\""] },
        { "sources: [ { id: a, kind: crm }, { id: b, kind: crm } ]\nidentifiers: [ { type: tryton_contact_id } ]\ndestinations:\n  - { id: a, kind: tryton, url: \"https://a.example/crm/\", user: u, secret: env:SET }\n  - { id: b, kind: tryton, url: \"https://b.example/crm/\", user: u, secret: env:SET }", ["5:11: there is a tryton already; two accounts would give the same tryton_contact_id to different persons", "5:76: this secret is the same as the one in line 4; each needs its own"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: env:MISSING } ]", ["1:66: the environment variable MISSING is not set; url needs it"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: env:SET } ]", ["1:66: expected url to be an address such as https://example.com/hook"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"http://a.example/h\" } ]", ["1:66: url is http to a.example, so everybody on the way can read it; use https, or write allow_http: true"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://u:p@a.example/h\" } ]", ["1:66: url has a user or a password in it, which is refused: requests are signed instead"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", segments: [ vip ] } ]", ["1:101: there is no segment with the id \"vip\""] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", segments: [] } ]", ["1:99: expected segments to name some of segments; without the key there are all, found nothing"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", send: [ profile ] } ]", ["1:97: expected memberships or profiles, found \"profile\"; did you mean \"profiles\"?"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", send: [ profiles, profiles ] } ]", ["1:107: \"profiles\" is given twice in send"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", fields: { Plan: trait.plan } } ]", ["1:105: expected a value, a path or a function, found \"trait\"; did you mean \"traits\"?"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", fields: { Plan: computed.plan } } ]", ["1:114: there is no computed trait called \"plan\""] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", fields: { Mail: identifiers.emial } } ]", ["1:117: there is no identifier type called \"emial\"; did you mean \"email\"?"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", fields: { N: now } } ]", ["1:102: expected a path such as traits.plan, computed.revenue or identifiers.email, found now"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", batch: 1001 } ]", ["1:96: expected batch to be a whole number from 1 to 1000, found \"1001\""] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", rate: 0 } ]", ["1:95: expected rate to be a whole number from 1 to 1000, found \"0\""] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", timeout: 6m } ]", ["1:98: expected timeout to be 1s to 5m, found \"6m\""] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", allow_http: yes } ]", ["1:101: expected allow_http to be true or false, found \"yes\""] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: t }, send: { subject: x, text: y } } ] } ]", ["3:118: there is no segment with the id \"t\""] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s, exited: s }, send: { subject: x, text: y } } ] } ]", ["3:107: expected on to have either entered or exited, with the id of a segment"] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, send: { subject: x, text: y } } ] } ]", ["3:94: an action needs on: which change starts it, such as on: { entered: big_spenders }"] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s } } ] } ]", ["3:94: an action needs send: { subject, text } here, html beside or instead of text"] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s }, send: { subject: x } } ] } ]", ["3:129: a mail needs subject and text, or subject and html, or all three"] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s }, after: 100d, send: { subject: x, text: y } } ] } ]", ["3:130: expected after to be 1s to 90d, found \"100d\""] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s }, at_most: weekly, send: { subject: x, text: y } } ] } ]", ["3:132: expected at_most to be a number of times and a time from 1m to 400d, such as 1 per 7d, found \"weekly\""] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s }, send: { subject: \"Hi {{ trait.name }}\", text: y } } ] } ]", ["3:140: subject is no good template: a template knows no trait; did you mean \"traits\"?"] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s }, send: { subject: \"{{ computed.x }}\", text: y } } ] } ]", ["3:140: subject is no good template: there is no computed trait called \"x\""] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [] } ]", ["3:17: an email destination sends nothing without actions: add { id: welcome, on: { entered: new_customers }, send: { subject: Welcome, text: Hello } } to actions"] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s }, send: { subject: x, text: y } } ], user: u } ]", ["3:17: user and secret go together: give both, or none where the server asks for no login"] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s }, send: { subject: x, text: y } } ], purpose: news } ]", ["3:167: there is no consent to \"news\": add privacy: { consent: { news: traits.consent.news } }"] },
        { "segments: { s: { when: 'happened(\"x\")' } }\nidentifiers: [ { type: email } ]\nprivacy: { consent: { news: traits.news } }\ndestinations: [ { id: m, kind: email, url: \"smtp://a.example\", from: a@b.example, actions: [ { id: a, on: { entered: s }, send: { subject: x, text: y } } ], purpose: newz } ]", ["4:167: there is no consent to \"newz\"; did you mean \"news\"?"] },
        { "privacy: { consent: { news: computed.x } }", ["1:29: expected the consent to news to be a trait that is true or false, such as traits.consent.news, found computed.x"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", purpose: marketing } ]", ["1:98: there is no consent to \"marketing\": add privacy: { consent: { marketing: traits.consent.marketing } }"] },
        { "destinations: [ { id: hook, kind: webhook, secret: env:SET, url: \"https://a.example/h\", ulr: x } ]", ["1:89: a destination has no key \"ulr\"; did you mean \"url\"?"] },
        { "destinations: [ { id: k, kind: kafka, topic: t } ]", ["1:17: a Kafka needs brokers"] },
        { "destinations: [ { id: k, kind: kafka, brokers: \"127.0.0.1:9092\" } ]", ["1:17: a Kafka needs topic"] },
        { "destinations: [ { id: k, kind: kafka, brokers: \"a.example\", topic: t } ]", ["1:48: expected brokers to be host:port, separated by commas, such as \"a.example:9092,b.example:9092\"; \"a.example\" is none"] },
        { "destinations: [ { id: k, kind: kafka, brokers: \"u:p@a.example:9092\", topic: t } ]", ["1:48: expected brokers to be host:port, separated by commas, such as \"a.example:9092,b.example:9092\"; a user or password has no place in it"] },
        { "destinations: [ { id: k, kind: kafka, brokers: \"127.0.0.1:9092\", topic: \"a b\" } ]", ["1:73: expected topic to be a name of 1 to 249 of A-Z a-z 0-9 . _ -, found \"a b\""] },
        { "destinations: [ { id: k, kind: kafka, brokers: \"127.0.0.1:9092\", topic: t, ca: a.pem } ]", ["1:80: ca is of use only with tls: true"] },
        { "destinations: [ { id: k, kind: kafka, brokers: \"127.0.0.1:9092\", topic: t, sasl: plain } ]", ["1:82: sasl is of use only with user"] },
        { "destinations: [ { id: k, kind: kafka, brokers: \"127.0.0.1:9092\", topic: t, user: u } ]", ["1:17: a user needs secret"] },
        { "destinations: [ { id: k, kind: kafka, brokers: \"a.example:9092\", topic: t, user: u, secret: env:SET, sasl: plain } ]", ["1:108: sasl: plain without tls sends the secret so that everybody on the way can read it; write tls: true, or use scram-sha-512"] },
        { "destinations: [ { id: f, kind: file, path: \"{date}.ndjson\", start: held } ]", ["1:68: expected start to be paused or running, found \"held\""] },
        { "destinations: [ { id: k, kind: kafka, brokers: \"127.0.0.1:9092\", topic: t, url: x } ]", ["1:76: a destination has no key \"url\"; known are id, kind, brokers, topic, tls, ca, user, secret, sasl, segments, start, send, fields, batch, rate, timeout, purpose"] },
        { "destinations: [ { id: f, kind: file, rotate: 1h } ]", ["1:17: a file needs path"] },
        { "destinations: [ { id: f, kind: file, path: a.txt } ]", ["1:44: expected path to end with .ndjson or .csv, such as exports/{date}.ndjson"] },
        { "destinations: [ { id: f, kind: file, path: out/a.csv, fields: { a: traits.a } } ]", ["1:44: expected the name in path to have {date} once and {time} at most once, such as exports/{date}T{time}.ndjson: else all files had the same name"] },
        { "destinations: [ { id: f, kind: file, path: \"out/{date}{hour}.ndjson\" } ]", ["1:44: path has other braces than {date} and {time} in its name"] },
        { "destinations: [ { id: f, kind: file, path: \"{date}.csv\" } ]", ["1:17: a .csv needs fields: they are its columns"] },
        { "destinations: [ { id: f, kind: file, path: \"{date}.csv\", fields: { at: traits.at } } ]", ["1:66: a .csv has a column at already; give the field another name than id, type, profile_id, version, at, segment, reason, merged_into"] },
        { "destinations: [ { id: f, kind: file, path: \"{date}.ndjson\", escape_formulas: true } ]", ["1:78: escape_formulas is of use only in a .csv"] },
        { "destinations: [ { id: f, kind: file, path: \"{date}.ndjson\", rotate: 2d } ]", ["1:69: expected rotate to be 1m to 1d, found \"2d\""] },
        { "destinations: [ { id: f, kind: file, path: \"{date}.ndjson\" }, { id: g, kind: file, path: \"./{date}.ndjson\" } ]", ["1:90: f writes there already; each destination needs files of its own"] },
        { "destinations: [ { id: f, kind: file, path: \"{date}.ndjson\", secret: env:SET } ]", ["1:61: a destination has no key \"secret\"; known are id, kind, path, rotate, max_mb, group_readable, escape_formulas, segments, start, send, fields, batch, rate, timeout, purpose"] },
        { "destinations: [ { id: hook, kind: webhook, url: \"https://a.example/h\", secret: env:SET }, { id: hook, kind: webhook, url: \"https://a.example/h\", secret: env:SET } ]", ["1:97: there is already a destination with the id \"hook\"", "1:154: this secret is the same as the one in line 1; each needs its own"] },
        {
            """
            segments:
              a:
                when: happened("A", within: 1h)
            """,
            ["3:31: this is not YAML: While scanning a plain scalar value, found invalid mapping; text with \": \" in it, such as an expression, stands in quotes: when: '…'"]
        },
        {
            """
            segments:
              a: {when: "x"
            """,
            ["2:16: this is not YAML: While parsing a flow mapping, did not find expected ',' or '}'"]
        },
        {
            """
            segments:
              a:{ when: "x" }
            """,
            ["2:5: expected a space after the colon"]
        },
        {
            """
            segments:
            	a: 1
            """,
            ["2:1: YAML is indented by spaces; here is a tab"]
        },
        {
            """
            a: &x 1
            b: *x
            """,
            ["1:4: anchors and aliases are not used in a model; write the value out"]
        },
        { "a: !!int 1", ["1:4: YAML tags are not used in a model"] },
        {
            """
            a: 1
            ---
            b: 2
            """,
            ["2:1: expected one YAML document, found a second one"]
        },
        {
            """
            ? [a]
            : b
            """,
            ["1:3: a key is text, not a list or a mapping"]
        },
        { "segments: { plain: { when: traits.x = 1 } }", ["1:37: \"=\" is not an operator; did you mean \"==\"?"] },
        { "segments: { single: { when: 'traits.it''s = 1' } }", ["1:39: the text that begins here has no closing '"] },
        { "segments: { single: { when: 'traits[\"it''s\"] = 1' } }", ["1:46: \"=\" is not an operator; did you mean \"==\"?"] },
        { "segments: { double: { when: \"traits[\\\"a\\\"] = 1\" } }", ["1:44: \"=\" is not an operator; did you mean \"==\"?"] },
        { "segments: { double: { when: \"traits.\\u0061\\x62 = 1\" } }", ["1:48: \"=\" is not an operator; did you mean \"==\"?"] },
        {
            """
            segments:
              folded_plain:
                when: traits.x exists
                  and traits.y
                  = 1
            """,
            ["5:7: \"=\" is not an operator; did you mean \"==\"?"]
        },
        {
            """
            segments:
              folded_quoted:
                when: "traits.x exists

                  and \
                  traits.y = 1"
            """,
            ["6:16: \"=\" is not an operator; did you mean \"==\"?"]
        },
        {
            """
            segments:
              literal:
                when: |
                  traits.x exists
                    and traits.y = 1
            """,
            ["5:22: \"=\" is not an operator; did you mean \"==\"?"]
        },
        {
            """
            segments:
              folded: # as in the demo
                when: >- # comment
                  traits.x exists

                  or traits.z exists
                  and traits.y = 1
            """,
            ["7:20: \"=\" is not an operator; did you mean \"==\"?"]
        },
        {
            """
            segments:
              indented:
                when: |2
                    traits.x = 1
            """,
            ["4:18: \"=\" is not an operator; did you mean \"==\"?"]
        },
        {
            """
            segments:
              a: { when: 'count("A", within: 30) > 1' }
              b: { when: 'coutn("A") > 1' }
            computed:
              c: { value: 'sum("A")' }
            """,
            ["2:34: expected a duration such as 30d, found \"30\"", "3:15: there is no function coutn; did you mean \"count\"?", "5:16: sum needs a path, such as sum(\"Order Completed\", properties.revenue)"]
        },
    };

    [Theory]
    [MemberData(nameof(Models))]
    public void A_wrong_model_is_refused_with_every_place_and_reason(string yaml, string[] errors)
    {
        ModelResult result = ModelReader.Read("cdp.yaml", yaml, name => name switch { "SET" => "x", "EMPTY" => "", _ => null });

        Assert.Null(result.Model);
        Assert.Equal(errors.Select(error => $"cdp.yaml:{error}"), result.Errors.Select(error => error.ToString()));
    }

    [Theory]
    [InlineData("count(\"A\") >", "13: expected a value, a path or a function, found the end")]
    [InlineData("", "1: expected a value, a path or a function, found the end")]
    [InlineData("count(\"A\", within: 30) > 1", "20: expected a duration such as 30d, found \"30\"")]
    [InlineData("count(\"A\", within: 30w) > 1", "20: expected a duration of one whole number and one of s, m, h, d, such as 30d, found \"30w\"")]
    [InlineData("count(\"A\", within: 1h30m) > 1", "20: expected a duration of one whole number and one of s, m, h, d, such as 30d, found \"1h30m\"")]
    [InlineData("count(\"A\", within: 1.5h) > 1", "20: expected a duration of one whole number and one of s, m, h, d, such as 30d, found \"1.5h\"")]
    [InlineData("count(\"A\", within: 0s) > 1", "20: the duration 0s is not allowed; allowed are 1s to 3650d")]
    [InlineData("count(\"A\", within: 3651d) > 1", "20: the duration 3651d is not allowed; allowed are 1s to 3650d")]
    [InlineData("count(\"A\", 30d) > 1", "12: expected within: before the duration, found \"30d\"")]
    [InlineData("coutn(\"A\") > 1", "1: there is no function coutn; did you mean \"count\"?")]
    [InlineData("count(A) > 1", "7: expected an event's name in quotes, deals, contacts, leads, companies or activities, found \"A\"")]
    [InlineData("count(\"A\", properties.x) > 1", "12: count takes no path; a condition on the event is written where: properties…")]
    [InlineData("happened(\"A\", properties.x)", "15: happened takes no path; a condition on the event is written where: properties…")]
    [InlineData("sum(\"A\") > 1", "1: sum needs a path, such as sum(\"Order Completed\", properties.revenue)")]
    [InlineData("sum(\"A\", traits.x) > 1", "10: the path of sum begins with properties or context, found \"traits\"")]
    [InlineData("sum(\"A\", event) > 1", "10: the path of sum begins with properties or context, found \"event\"")]
    [InlineData("sum(\"A\", properties.x, properties.y) > 1", "24: sum takes one path")]
    [InlineData("sum(\"A\", within: 1d, properties.x) > 1", "22: the path of sum comes before within: and where:")]
    [InlineData("sum(\"A\", proprties.x) > 1", "10: expected a path such as properties.revenue, within: or where:, found \"proprties\"; did you mean \"properties\"?")]
    [InlineData("count(\"A\", \"B\") > 1", "12: count takes one event, found the text \"B\"")]
    [InlineData("count(\"A\", within: 1d, within: 2d) > 1", "24: within: is given twice in count")]
    [InlineData("count(\"A\", wihin: 1d) > 1", "12: expected within: or where:, found \"wihin\"; did you mean \"within\"?")]
    [InlineData("count(\"A\", where: traits.plan == \"x\") > 1", "19: where: sees only properties, context, type and event of the event itself, not traits")]
    [InlineData("count(\"A\", where: computed.x > 1) > 1", "19: where: sees only properties, context, type and event of the event itself, not computed")]
    [InlineData("count(\"A\", where: count(\"B\") > 1) > 1", "19: where: sees only the event itself, not count(…)")]
    [InlineData("count(\"A\", where: in_segment(\"b\")) > 1", "19: where: sees only the event itself, not in_segment(…)")]
    [InlineData("count(\"A\", where: properties.d > now) > 1", "34: where: sees only the event itself, not now; use within: of the function")]
    [InlineData("count(\"A\", where: properties.d within last 1d) > 1", "32: where: sees only the event itself, not the time; use within: of the function")]
    [InlineData("count(\"A\", where: properties.x) > 1", "19: where: must be a condition, found properties.x; compare it, such as properties.x == true")]
    [InlineData("count(\"A\", where: properties.x == 1 > 1", "37: comparisons cannot be chained at \">\"; join them by and, or use brackets")]
    [InlineData("count(\"\") > 1", "7: an event's name is not empty; \"*\" means every event")]
    [InlineData("count(\"A\")", "1: when must be a condition, found count(…) (a number); compare it, such as … > 0")]
    [InlineData("traits.vip", "1: when must be a condition, found traits.vip; compare it, such as traits.vip == true")]
    [InlineData("last(\"A\", properties.x)", "1: when must be a condition, found last(…) (a value); compare it, such as … == \"x\"")]
    [InlineData("\"yes\"", "1: when must be a condition, found the text \"yes\"")]
    [InlineData("properties.x == 1", "1: properties belongs to an event: it is known only inside where: and as the path of a function such as sum(\"Order Completed\", properties.x)")]
    [InlineData("context.page.url contains \"x\"", "1: context belongs to an event: it is known only inside where: and as the path of a function such as sum(\"Order Completed\", context.x)")]
    [InlineData("type == \"track\"", "1: type is known only inside where: of an event function")]
    [InlineData("traits.x = 1", "10: \"=\" is not an operator; did you mean \"==\"?")]
    [InlineData("traits.x == 1 && traits.y == 2", "15: \"&&\" is not an operator; did you mean \"and\"?")]
    [InlineData("traits.x <> 1", "10: \"<>\" is not an operator; did you mean \"!=\"?")]
    [InlineData("!traits.x exists", "1: \"!\" is not an operator; did you mean \"not\"?")]
    [InlineData("traits.x == 1 AND traits.y == 2", "15: expected an operator or the end, found \"AND\"; did you mean \"and\"?")]
    [InlineData("traits.x containz \"a\"", "10: expected an operator or the end, found \"containz\"; did you mean \"contains\"?")]
    [InlineData("trait.x == 1", "1: expected a value, a path or a function, found \"trait\"; did you mean \"traits\"?")]
    [InlineData("traits == 1", "1: expected a name after traits, such as traits.email")]
    [InlineData("traits. x == 1", "8: expected a name after the dot; a name with other signs is written [\"first name\"]")]
    [InlineData("traits[first] == 1", "8: expected a name in quotes, such as [\"first name\"], found \"first\"")]
    [InlineData("traits[\"a\" == 1", "12: expected ], found \"==\"")]
    [InlineData("1 < traits.x < 3", "14: comparisons cannot be chained at \"<\"; join them by and, or use brackets")]
    [InlineData("traits.x exists == true", "17: comparisons cannot be chained at \"==\"; join them by and, or use brackets")]
    [InlineData("sum(\"A\", properties.x) > \"5\"", "26: > of sum(…) (a number) and the text \"5\" is never true: the types differ; did you mean 5 without quotes?")]
    [InlineData("sum(\"A\", properties.x) > \"five\"", "26: > of sum(…) (a number) and the text \"five\" is never true: the types differ")]
    [InlineData("traits.x > true", "12: > compares numbers, text or dates, not true")]
    [InlineData("traits.x > [\"a\"]", "12: > does not compare lists; use traits.x in […]")]
    [InlineData("traits.x == [\"a\"]", "13: == does not compare lists; use traits.x in […]")]
    [InlineData("happened(\"A\") == 1", "18: == of happened(…) (true or false) and the number 1 is never true: the types differ")]
    [InlineData("happened(\"A\") > 1", "1: > compares numbers, text or dates, not happened(…) (true or false)")]
    [InlineData("now > \"tomorrow\"", "7: > of now and the text \"tomorrow\" is never true: the types differ; a date is written \"2026-01-31\" or \"2026-01-31T12:00:00Z\"")]
    [InlineData("now == 5", "8: == of now and the number 5 is never true: the types differ; a date is written \"2026-01-31\" or \"2026-01-31T12:00:00Z\"")]
    [InlineData("traits.x in \"DE\"", "13: in needs a list such as [\"DE\", \"FR\"] on its right, found the text \"DE\"")]
    [InlineData("traits.x in traits.list", "13: in needs a list such as [\"DE\", \"FR\"] on its right, found traits.list; use traits.list contains …")]
    [InlineData("\"x\" in identifiers.email", "8: in needs a list such as [\"DE\", \"FR\"] on its right, found the list identifiers.email; use identifiers.email contains …")]
    [InlineData("count(\"A\") in [\"1\", 2]", "16: in finds count(…) (a number) never equal to the text \"1\": the types differ")]
    [InlineData("identifiers.email in [\"a@b.c\"]", "1: in looks for one value, not for the list identifiers.email; use contains")]
    [InlineData("identifiers.email == \"a@b.c\"", "1: == does not compare lists; use identifiers.email contains \"x\"")]
    [InlineData("identifiers.email contains 3", "28: contains looks for text, not for the number 3")]
    [InlineData("count(\"A\") contains 1", "1: contains looks into text or a list, not count(…) (a number)")]
    [InlineData("traits.tags contains [\"a\"]", "22: contains looks for one value, not for a list")]
    [InlineData("traits.x starts_with 5", "22: starts_with compares text, not the number 5")]
    [InlineData("count(\"A\") ends_with \"x\"", "1: ends_with compares text, not count(…) (a number)")]
    [InlineData("\"abc\" exists", "1: exists follows a path such as traits.email, not the text \"abc\"")]
    [InlineData("happened(\"A\") exists", "1: exists follows a path such as traits.email, not happened(…) (true or false)")]
    [InlineData("traits.d within 7d", "17: expected next or last after within, found \"7d\"")]
    [InlineData("traits.d within next 7", "22: expected a duration such as 30d, found \"7\"")]
    [InlineData("count(\"A\") within next 7d", "1: within next and within last need a date such as traits.renewal, not count(…) (a number)")]
    [InlineData("\"soon\" within next 7d", "1: within next and within last need a date such as traits.renewal, not the text \"soon\"")]
    [InlineData("30d > 1", "1: a duration such as 30d stands only after within")]
    [InlineData("traits.x == \"abc", "13: the text that begins here has no closing \"")]
    [InlineData("traits.x == \"a\\qb\"", "15: after a backslash one of \" ' \\ n r t uXXXX is expected")]
    [InlineData("traits.x == 1e999", "13: the number 1e999 is too large")]
    [InlineData("traits.x == 007", "13: expected a number as in JSON, such as 500 or -0.5, found \"007\"")]
    [InlineData("traits.x == +5", "13: expected a number as in JSON, such as 500 or -0.5, found \"+5\"")]
    [InlineData("traits.x - 1 == 2", "10: \"-\" stands only before a number; there is no arithmetic")]
    [InlineData("traits.x == ;", "13: the sign \";\" has no meaning here; text stands in quotes")]
    [InlineData("(traits.x exists", "17: expected an operator or the bracket that closes column 1, found the end")]
    [InlineData("traits.x exists)", "16: expected an operator or the end, found \")\"")]
    [InlineData("traits.x in [\"a\" \"b\"]", "18: expected , or ] in the list, found the text \"b\"")]
    [InlineData("traits.x in [\"a\", traits.y]", "19: expected text in quotes, a number, true, false or null, found \"traits\"")]
    [InlineData("traits.x exists traits.y exists", "17: expected an operator or the end, found \"traits\"")]
    [InlineData("in_segment(vip)", "12: expected a segment's id in quotes, found \"vip\"")]
    [InlineData("count > 3", "7: expected ( after count, found \">\"")]
    [InlineData("exists(traits.x)", "8: expected deals, contacts, leads, companies or activities, found \"traits\"")]
    [InlineData("exists(dealz)", "8: expected deals, contacts, leads, companies or activities, found \"dealz\"; did you mean \"deals\"?")]
    [InlineData("count(contact, name exists) > 1", "7: expected an event's name in quotes, deals, contacts, leads, companies or activities, found \"contact\"; did you mean \"contacts\"?")]
    [InlineData("exists(\"deals\")", "8: expected deals, contacts, leads, companies or activities, found the text \"deals\"; of a path it is written traits.x exists")]
    [InlineData("count(deals, within: 30d) > 1", "14: count(deals, …) takes no within:, because deals are those of now; a date is part of the condition, such as created within last 30d")]
    [InlineData("sum(deals, amount, stage == \"won\", within: 30d) > 1", "36: sum(deals, …) takes no within:, because deals are those of now; a date is part of the condition, such as created within last 30d")]
    [InlineData("sum(deals, within: 30d) > 1", "12: sum(deals, …) takes no within:, because deals are those of now; a date is part of the condition, such as created within last 30d")]
    [InlineData("exists(leads, a == 1, b == 2)", "23: exists(leads, …) takes one condition; join several by and")]
    [InlineData("exists(deals, count(\"A\") > 1)", "15: a condition on a collection sees only the fields of its items, not count(…)")]
    [InlineData("exists(deals, in_segment(\"vip\"))", "15: a condition on a collection sees only the fields of its items, not in_segment(…)")]
    [InlineData("exists(deals, identifiers.email exists)", "15: a condition on a collection sees only the fields of its items, not identifiers")]
    [InlineData("exists(deals, id == 12)", "21: == of id (text) and the number 12 is never true: the types differ")]
    [InlineData("exists(deals, stage)", "15: the condition of a collection must be a condition, found stage; compare it, such as stage == true")]
    [InlineData("count(deals)", "1: when must be a condition, found count(deals, …) (a number); compare it, such as … > 0")]
    [InlineData("sum(deals, now) > 1", "12: expected a field's name, found \"now\"; a field of this name is written properties.now")]
    [InlineData("count(\"A\", where: exists(deals)) > 1", "19: where: sees only the event itself, not exists(…)")]
    [InlineData("computed.a.b == 1", "1: computed takes one name, such as computed.orders; there is nothing below it")]
    [InlineData("sequence(\"A\", within: 1d)", "1: sequence needs two events or more")]
    [InlineData("sequence(\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\",\"A\")", "1: sequence takes 16 events at most, found 17")]
    [InlineData("exists(deals, traits.x == 1)", "15: a condition on a collection sees only the fields of its items, not traits")]
    [InlineData("sum(deals) > 1", "10: expected a field to sum, such as sum(deals, amount), found \")\"")]
    [InlineData("sum(contacts, amount, where: stage) > 1", "30: the condition of a collection must be a condition, found stage; compare it, such as stage == true")]
    [InlineData("traits.x and traits.y exists", "1: each side of and must be a condition, found traits.x; compare it, such as traits.x == true")]
    [InlineData("not count(\"A\")", "5: what follows not must be a condition, found count(…) (a number); compare it, such as … > 0")]
    [InlineData("traits.x == truee", "13: expected a value, a path or a function, found \"truee\"; did you mean \"true\"?")]
    public void A_wrong_condition_is_refused_with_every_column_and_reason(string expression, params string[] errors)
    {
        ExpressionResult result = ExpressionReader.ReadCondition(expression);

        Assert.Null(result.Expression);
        Assert.Equal(errors, result.Errors.Select(error => $"{error.Column}: {error.Message}"));
    }

    [Fact]
    public void Nesting_is_limited() =>
        Assert.Equal("expression:1:65: the expression is nested deeper than 64", Assert.Single(ExpressionReader.ReadCondition(new string('(', 1000) + "true").Errors).ToString());

    [Fact]
    public void Many_nots_are_nesting_too() =>
        Assert.Equal("expression:1:257: the expression is nested deeper than 64", Assert.Single(ExpressionReader.ReadCondition(string.Concat(Enumerable.Repeat("not ", 1000)) + "true").Errors).ToString());

    [Fact]
    public void Length_is_limited() =>
        Assert.Equal("expression:1:1: the expression has 9000 characters; allowed are 8192", Assert.Single(ExpressionReader.ReadCondition(new string(' ', 9000)).Errors).ToString());

    [Fact]
    public void A_model_of_endless_size_is_refused() =>
        Assert.Equal("cdp.yaml:1:1: the model has 1048577 characters; allowed are 1048576", Assert.Single(ModelReader.Read("cdp.yaml", new string('#', ModelReader.MaxLength + 1), _ => null).Errors).ToString());

    [Fact]
    public void Yaml_that_nests_without_end_is_refused() =>
        Assert.Equal("cdp.yaml:1:34: the YAML is nested deeper than 32", Assert.Single(ModelReader.Read("cdp.yaml", new string('[', 100_000), _ => null).Errors).ToString());
}
