using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Actions;

/// <summary>Takes back the consent of a person who followed a link.</summary>
/// <remarks>That is an event of the destination's own source, as everything that is known of a person is: so every destination with the same purpose leaves the person alone, and a merge keeps it.</remarks>
/// <param name="links">Reads the links.</param>
/// <param name="destinations">By id: the consent, and the engine as that source sees it.</param>
/// <param name="time">The event's time.</param>
internal sealed class Unsubscriber(UnsubscribeLinks links, IReadOnlyDictionary<string, (ConsentDefinition Consent, IProfiles Profiles)> destinations, TimeProvider time) : IDisposable
{
    private static readonly TimeSpan s_queue = TimeSpan.FromSeconds(5);

    private readonly SemaphoreSlim _one = new(1, 1);

    /// <summary>The purpose of a link; null: it is none of ours, or its destination is gone.</summary>
    public string? Purpose(string token) => links.TryRead(token, out string destinationId, out _) && destinations.TryGetValue(destinationId, out var destination) ? destination.Consent.Purpose : null;

    /// <summary>Takes the consent back, durably and applied; false: nobody can be found by the link any more.</summary>
    /// <exception cref="TimeoutException">Not now: too many do it at once, the engine is behind, or the rules of the trait kept the consent.</exception>
    public async ValueTask<bool> TakeBackAsync(string token, CancellationToken cancellationToken)
    {
        if (!links.TryRead(token, out string destinationId, out string profileId) || !destinations.TryGetValue(destinationId, out (ConsentDefinition Consent, IProfiles Profiles) destination))
        {
            return false;
        }

        if (!await _one.WaitAsync(s_queue, cancellationToken).ConfigureAwait(false))
        {
            throw new TimeoutException("Too many people unsubscribe at once.");
        }

        try
        {
            ProfileView? view = await destination.Profiles.FindAsync("id", profileId, cancellationToken).ConfigureAwait(false);
            if (view is not { Identifiers.Count: > 0 })
            {
                return false;
            }

            if (!IsGiven(view, destination.Consent))
            {
                return true; // A link that is followed twice writes nothing a second time.
            }

            DateTimeOffset now = time.GetUtcNow();
            bool isTaken = destination.Profiles.TryAppend(JsonSerializer.SerializeToUtf8Bytes(Event(view, destination.Consent, destinationId, now)), now);
            await destination.Profiles.AppliedAsync(cancellationToken).ConfigureAwait(false);
            view = isTaken ? await destination.Profiles.FindAsync("id", profileId, cancellationToken).ConfigureAwait(false) : view;
            return view is null || !IsGiven(view, destination.Consent) ? true : throw new TimeoutException($"The rules of the trait {destination.Consent.Path} kept the consent.");
        }
        finally
        {
            _one.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _one.Dispose();
        foreach ((_, IProfiles profiles) in destinations.Values)
        {
            (profiles as IDisposable)?.Dispose();
        }
    }

    private static bool IsGiven(ProfileView view, ConsentDefinition consent) => view.Value(consent.Path).ValueKind == JsonValueKind.True;

    private static JsonObject Event(ProfileView view, ConsentDefinition consent, string destinationId, DateTimeOffset now)
    {
        string instant = now.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", System.Globalization.CultureInfo.InvariantCulture);
        var json = new JsonObject
        {
            ["type"] = "identify",
            ["messageId"] = $"unsubscribe:{destinationId}:{view.Id}:{now.ToUnixTimeMilliseconds()}",
            ["timestamp"] = instant,
            ["traits"] = new JsonObject { [consent.Path.Path[0]] = Without(view.Traits.TryGetProperty(consent.Path.Path[0], out JsonElement trait) ? trait : default, consent.Path.Path, 1) },
        };

        // One identifier is enough, and the fewer are named the less an old link can join: who is named alone is who has it now.
        ChangeIdentifier who = view.Identifiers.FirstOrDefault(identifier => identifier.Type == "user_id") ?? view.Identifiers[0];
        switch (who.Type)
        {
            case "user_id":
                json["userId"] = who.Value;
                break;
            case "anonymous_id":
                json["anonymousId"] = who.Value;
                break;
            default:
                json["context"] = new JsonObject { ["externalIds"] = new JsonArray(new JsonObject { ["id"] = who.Value, ["type"] = who.Type }) };
                break;
        }

        return json;
    }

    /// <summary>The trait as it is, with false at the place of the consent: a trait is replaced whole (RULES §5).</summary>
    private static JsonNode Without(JsonElement trait, IReadOnlyList<string> path, int depth)
    {
        if (depth == path.Count)
        {
            return JsonValue.Create(false);
        }

        JsonObject node = trait.ValueKind == JsonValueKind.Object ? JsonObject.Create(trait)! : [];
        JsonElement inner = trait.ValueKind == JsonValueKind.Object && trait.TryGetProperty(path[depth], out JsonElement found) ? found : default;
        node[path[depth]] = Without(inner, path, depth + 1);
        return node;
    }
}
