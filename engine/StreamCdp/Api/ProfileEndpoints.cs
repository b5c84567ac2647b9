using System.Text.Json;
using Microsoft.AspNetCore.Http.Features;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Api;

/// <summary>Profiles, their events, and what became of a message.</summary>
internal sealed class ProfileEndpoints(IEngineQueries queries, IReadOnlySet<string> types, ApiOptions options)
{
    private const int DefaultEvents = 32;
    private const int DefaultProfiles = 100;

    /// <summary><c>GET /v1/profiles</c>: all, page by page.</summary>
    public async Task<ApiProblem?> ListAsync(HttpContext context)
    {
        string cursor = context.Request.Query["cursor"].ToString();
        if (!ApiRequest.TryNumber(context.Request, "limit", DefaultProfiles, 1, ApiOptions.MaxMembersPage, out int limit, out ApiProblem? problem))
        {
            return problem;
        }

        problem = await ApiRequest.WaitAsync(context, queries, options);
        if (problem is not null)
        {
            return problem;
        }

        try
        {
            await ApiJson.WriteAsync(context, await queries.ExportAsync(cursor.Length == 0 ? null : cursor, limit, context.RequestAborted), static (json, page) =>
            {
                json.WriteStartObject();
                json.WriteStartArray("profiles"u8);
                foreach (byte[] profile in page.Profiles)
                {
                    json.WriteRawValue(profile, skipInputValidation: true);
                }

                json.WriteEndArray();
                json.WriteString("next"u8, page.Next);
                json.WriteEndObject();
            });
            return null;
        }
        catch (FormatException)
        {
            return ApiProblem.BadRequest("bad_cursor", "The cursor is not one of this API; send the 'next' of the page before, unchanged, or none for the first page.");
        }
    }

    /// <summary><c>GET /v1/profiles/{type}:{value}</c>.</summary>
    public async Task<ApiProblem?> GetAsync(HttpContext context)
    {
        if (!ApiRequest.TryIdentifier(ApiRequest.RawSegment(context, fromEnd: 1), types, out string type, out string value, out ApiProblem? problem)
            || !ApiRequest.TryInclude(context.Request, out ProfileParts include, out problem))
        {
            return problem;
        }

        problem = await ApiRequest.WaitAsync(context, queries, options);
        if (problem is not null)
        {
            return problem;
        }

        byte[]? profile = await queries.ProfileAsync(type, value, include, context.RequestAborted);
        if (profile is null)
        {
            return UnknownProfile(type);
        }

        await ApiJson.WriteBytesAsync(context, ApiJson.ContentType, profile);
        return null;
    }

    /// <summary><c>GET /v1/profiles/{type}:{value}/events</c>.</summary>
    public async Task<ApiProblem?> EventsAsync(HttpContext context)
    {
        if (!ApiRequest.TryIdentifier(ApiRequest.RawSegment(context, fromEnd: 2), types, out string type, out string value, out ApiProblem? problem)
            || !ApiRequest.TryNumber(context.Request, "limit", DefaultEvents, 1, ApiOptions.MaxEvents, out int limit, out problem))
        {
            return problem;
        }

        problem = await ApiRequest.WaitAsync(context, queries, options);
        if (problem is not null)
        {
            return problem;
        }

        byte[]? events = await queries.EventsAsync(type, value, limit, context.RequestAborted);
        if (events is null)
        {
            return UnknownProfile(type);
        }

        await ApiJson.WriteAsync(context, events, static (json, events) =>
        {
            json.WriteStartObject();
            json.WritePropertyName("events"u8);
            json.WriteRawValue(events, skipInputValidation: true);
            json.WriteEndObject();
        });
        return null;
    }

    /// <summary><c>POST /v1/profiles/lookup</c>.</summary>
    public async Task<ApiProblem?> LookupAsync(HttpContext context)
    {
        if (!ApiRequest.TryInclude(context.Request, out ProfileParts include, out ApiProblem? problem))
        {
            return problem;
        }

        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = options.MaxBodyBytes;
        }

        List<(string Type, string Value)> identifiers = [];
        try
        {
            using JsonDocument body = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
            problem = ReadIdentifiers(body.RootElement, identifiers);
        }
        catch (JsonException e)
        {
            problem = ApiProblem.BadRequest("bad_json", $"The body is not JSON (line {e.LineNumber + 1}, byte {e.BytePositionInLine + 1}).");
        }

        catch (InvalidOperationException)
        {
            problem = ApiProblem.BadRequest("bad_json", "The body has text that is no Unicode, such as half of a surrogate pair.");
        }

        problem ??= await ApiRequest.WaitAsync(context, queries, options);
        if (problem is not null)
        {
            return problem;
        }

        // All at once: the shards answer in parallel.
        byte[]?[] profiles = await Task.WhenAll(identifiers.Select(i => queries.ProfileAsync(i.Type, i.Value, include, context.RequestAborted).AsTask()));
        await ApiJson.WriteAsync(context, (identifiers, profiles), static (json, found) =>
        {
            json.WriteStartObject();
            json.WriteStartArray("profiles"u8);
            for (int i = 0; i < found.profiles.Length; i++)
            {
                json.WriteStartObject();
                json.WriteStartObject("identifier"u8);
                json.WriteString("type"u8, found.identifiers[i].Type);
                json.WriteString("value"u8, found.identifiers[i].Value);
                json.WriteEndObject();
                json.WritePropertyName("profile"u8);
                if (found.profiles[i] is { } profile)
                {
                    json.WriteRawValue(profile, skipInputValidation: true);
                }
                else
                {
                    json.WriteNullValue();
                }

                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        });
        return null;
    }

    /// <summary><c>GET /v1/trace/{messageId}</c>.</summary>
    public async Task<ApiProblem?> TraceAsync(HttpContext context)
    {
        ApiProblem? problem = await ApiRequest.WaitAsync(context, queries, options);
        if (problem is not null)
        {
            return problem;
        }

        byte[]? trace = await queries.TraceAsync(ApiRequest.RawSegment(context, fromEnd: 1), context.RequestAborted);
        if (trace is null)
        {
            return ApiProblem.NotFound("unknown_message", "No kept event of the dedup window has this messageId, and none of the newest dead letters.");
        }

        await ApiJson.WriteBytesAsync(context, ApiJson.ContentType, trace);
        return null;
    }

    private static ApiProblem UnknownProfile(string type) => ApiProblem.NotFound("unknown_profile", $"Nobody has this identifier of type '{type}'.");

    private ApiProblem? ReadIdentifiers(JsonElement body, List<(string Type, string Value)> identifiers)
    {
        const string shape = "The body must be {\"identifiers\":[{\"type\":\"email\",\"value\":\"a@b.c\"}]}";
        if (body.ValueKind != JsonValueKind.Object || !body.TryGetProperty("identifiers", out JsonElement list) || list.ValueKind != JsonValueKind.Array)
        {
            return ApiProblem.BadRequest("bad_body", shape + ".");
        }

        if (list.GetArrayLength() is 0 or > ApiOptions.MaxLookupIdentifiers)
        {
            return ApiProblem.BadRequest("bad_identifier_count", $"identifiers has {list.GetArrayLength()} entries; allowed are 1 to {ApiOptions.MaxLookupIdentifiers}.");
        }

        foreach (JsonElement entry in list.EnumerateArray())
        {
            string? type = entry.ValueKind == JsonValueKind.Object && entry.TryGetProperty("type", out JsonElement t) && t.ValueKind == JsonValueKind.String ? t.GetString() : null;
            string? value = type is not null && entry.TryGetProperty("value", out JsonElement v) ? Text(v) : null;
            if (type is null || value is null)
            {
                return ApiProblem.BadRequest("bad_body", $"{shape}; entry {identifiers.Count} (from 0) is not.");
            }

            if (ApiRequest.CheckIdentifier(type, value, types) is { } problem)
            {
                return problem with { Message = $"Entry {identifiers.Count} (from 0): {problem.Message}" };
            }

            identifiers.Add((type, value));
        }

        return null;
    }

    /// <summary>Text, or a whole number as its decimal text (RULES.md §1.2).</summary>
    private static string? Text(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => value.GetString(),
        JsonValueKind.Number when value.GetRawText().AsSpan().IndexOfAny('.', 'e', 'E') < 0 => value.GetRawText(),
        _ => null,
    };
}
