using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using StreamCdp.Connectors.Actions;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.Tryton;

/// <summary>Notes at parties and at their opportunities: what Tryton has of activities.</summary>
public sealed partial class TrytonCrm : ICrmNotes
{
    private const string AtParty = "party.party,";
    private const string AtDeal = "sale.opportunity,";

    /// <inheritdoc/>
    public IReadOnlyList<string> NoteKinds { get; } = ["note"];

    /// <inheritdoc/>
    public async ValueTask<Outcome> AddNoteAsync(string key, string contactId, string kind, string subject, string text, DateTimeOffset at, CancellationToken cancellationToken)
    {
        string resource = AtParty + contactId;
        string mark = Code + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)).AsSpan(0, 6)); // A note has no place for an id but its text.
        JsonArray same = [new JsonArray("resource", "=", resource), new JsonArray("message", "like", $"%{mark}")];
        try
        {
            if ((await _client.CallAsync("model.ir.note.search", [same, 0, 1, null], Context(), cancellationToken).ConfigureAwait(false)).GetArrayLength() == 0)
            {
                await _client.CallAsync("model.ir.note.create", [new JsonArray(new JsonObject { ["resource"] = resource, ["message"] = $"{text}\n{mark}" })], Context(), cancellationToken).ConfigureAwait(false);
            }

            return Outcome.Taken;
        }
        catch (TrytonException exception)
        {
            return exception.IsAccess ? throw Forbidden("to write notes") : exception.IsBusy ? Outcome.TryAgain(exception.Message) : Outcome.Refused(exception.Message);
        }
    }

    /// <summary>Of all that notes can stand at.</summary>
    private static JsonArray OfPeople() => ["OR", new JsonArray("resource", "like", AtParty + "%"), new JsonArray("resource", "like", AtDeal + "%")];

    /// <summary>Notes that people wrote at parties; those that actions made are left out.</summary>
    /// <returns>By party the id of one.</returns>
    private async ValueTask<Dictionary<string, string>> NotedAsync(IEnumerable<string> parties, CancellationToken cancellationToken)
    {
        JsonArray domain = [new JsonArray("resource", "in", Names(parties.Select(id => AtParty + id)))];
        JsonElement notes = await CallUserAsync("model.ir.note.search_read", [domain, 0, null, null, Names(["id", "resource", "message"])], cancellationToken).ConfigureAwait(false);
        return notes.EnumerateArray().Where(note => Mark(note) is null).GroupBy(note => note.GetProperty("resource"u8).GetString()![AtParty.Length..]).ToDictionary(same => same.Key, same => same.First().GetProperty("id"u8).GetRawText());
    }

    private async ValueTask<List<CrmRecord>> NotesAsync(JsonArray domain, CancellationToken cancellationToken)
    {
        JsonElement rows = await CallUserAsync("model.ir.note.search_read", [new JsonArray(domain, OfPeople()), 0, null, null, Names(["id", "resource", "message", "create_date", "write_date"])], cancellationToken).ConfigureAwait(false);
        string[] deals = [.. rows.EnumerateArray().Select(row => row.GetProperty("resource"u8).GetString()!).Where(resource => resource.StartsWith(AtDeal, StringComparison.Ordinal)).Select(resource => resource[AtDeal.Length..]).Distinct()];
        Dictionary<string, CrmRecord> ofDeals = deals.Length == 0 ? [] : (await ReadAsync(CrmObject.Deal, deals, cancellationToken).ConfigureAwait(false)).ToDictionary(deal => deal.Id);
        return [.. rows.EnumerateArray().Select(Note)];

        CrmRecord Note(JsonElement row)
        {
            string resource = row.GetProperty("resource"u8).GetString()!;
            DateTimeOffset? at = TrytonValues.Instant(row.GetProperty("create_date"u8));
            return new CrmRecord
            {
                Kind = CrmObject.Activity,
                Id = row.GetProperty("id"u8).GetRawText(),
                CreatedAt = at,
                ModifiedAt = TrytonValues.Instant(row.GetProperty("write_date"u8)) ?? at,
                ExternalId = Mark(row),
                Fields = new Dictionary<string, JsonElement>
                {
                    ["kind"] = JsonSerializer.SerializeToElement("note"),
                    ["subject"] = JsonSerializer.SerializeToElement<string?>(null), // Its text is not kept: what a person wrote to another is nobody else's.
                    ["at"] = JsonSerializer.SerializeToElement(at?.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture)),
                },
                ContactIds = resource.StartsWith(AtParty, StringComparison.Ordinal) ? [resource[AtParty.Length..]] : ofDeals[resource[AtDeal.Length..]].ContactIds,
            };
        }
    }

    /// <summary>The id that <see cref="AddNoteAsync"/> wrote into a note; null: a person wrote it.</summary>
    private static string? Mark(JsonElement note) => note.GetProperty("message"u8).GetString() is { } text && MarkLine().Match(text) is { Success: true } match ? match.Groups[1].Value : null;

    [GeneratedRegex(@"(?:^|\n)streamcdp:([0-9a-f]{12})\s*$")]
    private static partial Regex MarkLine();
}
