using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Microsoft.AspNetCore.Http.Features;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Api;

/// <summary>Reads what a request asks for; each method says false with the problem to answer.</summary>
internal static class ApiRequest
{
    private static readonly (string Name, ProfileParts Part)[] Parts =
    [
        ("traits", ProfileParts.Traits), ("computed", ProfileParts.Computed), ("segments", ProfileParts.Segments), ("identifiers", ProfileParts.Identifiers),
        ("events", ProfileParts.Events), ("crm", ProfileParts.Crm), ("history", ProfileParts.History),
    ];

    /// <summary>A segment of the path as sent, decoded once: routing has decoded all but %2F, so <c>%252F</c> and <c>%2F</c> look the same there.</summary>
    /// <param name="context">The request.</param>
    /// <param name="fromEnd">1: the last segment.</param>
    public static string RawSegment(HttpContext context, int fromEnd)
    {
        string target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        int query = target.AsSpan().IndexOfAny('?', '#');
        string[] segments = (query < 0 ? target : target[..query]).TrimEnd('/').Split('/');
        return fromEnd <= segments.Length ? Uri.UnescapeDataString(segments[^fromEnd]) : "";
    }

    /// <summary><c>{type}:{value}</c>: the first colon divides.</summary>
    public static bool TryIdentifier(string text, IReadOnlySet<string> types, out string type, out string value, [NotNullWhen(false)] out ApiProblem? problem)
    {
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        type = colon < 0 ? "" : text[..colon];
        value = colon < 0 ? "" : text[(colon + 1)..];
        problem = CheckIdentifier(type, value, types);
        return problem is null;
    }

    /// <summary>Null where the type is one of the model's (or <c>id</c>) and there is a value.</summary>
    public static ApiProblem? CheckIdentifier(string type, string value, IReadOnlySet<string> types)
    {
        if (type.Length == 0 || value.Length == 0)
        {
            return ApiProblem.BadRequest("bad_identifier", "An identifier is type:value with both parts, for example email:a%40b.c; URL-encode the value (a slash is %2F), or use POST /v1/profiles/lookup.");
        }

        return type == "id" || types.Contains(type)
            ? null
            : ApiProblem.BadRequest("unknown_identifier_type", $"The model has no identifier type '{type}'; it has: {string.Join(", ", types)}, and id for a profile's own id.");
    }

    /// <summary><c>?include=traits,segments</c>; missing: <see cref="ProfileParts.Default"/>; empty: no part.</summary>
    public static bool TryInclude(HttpRequest request, out ProfileParts parts, [NotNullWhen(false)] out ApiProblem? problem)
    {
        problem = null;
        parts = ProfileParts.Default;
        if (!request.Query.TryGetValue("include", out var values))
        {
            return true;
        }

        parts = ProfileParts.None;
        foreach (string name in values.ToString().Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            ProfileParts part = Array.Find(Parts, p => p.Name == name).Part;
            if (part == ProfileParts.None)
            {
                problem = ApiProblem.BadRequest("unknown_part", $"include has '{name}'; allowed are {string.Join(", ", Parts.Select(static p => p.Name))}.");
                return false;
            }

            parts |= part;
        }

        return true;
    }

    /// <summary>A whole number in the query.</summary>
    public static bool TryNumber(HttpRequest request, string name, int missing, int least, int most, out int number, [NotNullWhen(false)] out ApiProblem? problem)
    {
        problem = null;
        number = missing;
        string text = request.Query[name].ToString();
        if (text.Length > 0 && (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) || number < least || number > most))
        {
            problem = ApiProblem.BadRequest("bad_" + name, $"{name} is '{text}'; allowed are {least} to {most}.");
        }

        return problem is null;
    }

    /// <summary><c>?wait=true&amp;timeout=ms</c>: waits until all that was acknowledged before is applied.</summary>
    /// <returns>Null where the answer may be made now.</returns>
    public static async Task<ApiProblem?> WaitAsync(HttpContext context, IEngineQueries queries, ApiOptions options)
    {
        string wait = context.Request.Query["wait"].ToString();
        if (wait is "" or "false")
        {
            return null;
        }

        if (wait != "true")
        {
            return ApiProblem.BadRequest("bad_wait", $"wait is '{wait}'; allowed are true and false.");
        }

        if (!TryNumber(context.Request, "timeout", options.WaitMs, 1, ApiOptions.MaxWaitMs, out int timeoutMs, out ApiProblem? problem))
        {
            return problem;
        }

        try
        {
            await queries.WaitAppliedAsync(TimeSpan.FromMilliseconds(timeoutMs), context.RequestAborted);
            return null;
        }
        catch (TimeoutException e)
        {
            return new ApiProblem(StatusCodes.Status504GatewayTimeout, "wait_timed_out", $"Not applied within {timeoutMs} ms. {e.Message} Ask again without wait=true for what is known now.", RetryAfterSeconds: 1);
        }
    }
}
