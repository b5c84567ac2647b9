using System.Security.Cryptography;
using System.Text;
using StreamCdp.Engine.Model;

namespace StreamCdp.Api;

/// <summary>The API keys of the model. Holds only their SHA-256; a key is compared with all of them in constant time.</summary>
internal sealed class ApiKeys
{
    private readonly (byte[] Hash, ApiKeyDefinition Definition)[] _keys;

    public ApiKeys(IEnumerable<ApiKeyDefinition> definitions) =>
        _keys = [.. definitions.Where(static d => d.Key.Length > 0).Select(static d => (SHA256.HashData(Encoding.UTF8.GetBytes(d.Key)), d with { Key = "" }))];

    /// <summary>Nobody can be let in.</summary>
    public bool IsEmpty => _keys.Length == 0;

    /// <summary>Checks the header of a request.</summary>
    /// <param name="authorization">The header <c>Authorization</c>, or empty.</param>
    /// <param name="scope">read, write or admin.</param>
    /// <param name="keyId">Id of the key, for limits and receipts.</param>
    /// <returns>Null where the request may go on.</returns>
    public ApiProblem? Check(string authorization, string scope, out string keyId)
    {
        keyId = "";
        if (IsEmpty)
        {
            return new ApiProblem(StatusCodes.Status403Forbidden, "no_api_keys",
                "The model has no api_keys, so nobody may use the query API. Write in cdp.yaml: api_keys: [ { id: ops, key: env:STREAMCDP_API_KEY, scopes: [read] } ], set that environment variable, and send Authorization: Bearer KEY.");
        }

        const string scheme = "Bearer ";
        if (!authorization.StartsWith(scheme, StringComparison.OrdinalIgnoreCase))
        {
            return new ApiProblem(StatusCodes.Status401Unauthorized, "key_missing", "Send one of the model's api_keys as: Authorization: Bearer KEY.");
        }

        byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes(authorization[scheme.Length..].Trim()));
        ApiKeyDefinition? found = null;
        foreach ((byte[] known, ApiKeyDefinition definition) in _keys)
        {
            if (CryptographicOperations.FixedTimeEquals(known, hash))
            {
                found = definition; // No way out of the loop here: the time must not tell which key it was.
            }
        }

        if (found is null)
        {
            return new ApiProblem(StatusCodes.Status401Unauthorized, "key_wrong", "The key is none of the model's api_keys.");
        }

        keyId = found.Id;
        return found.Scopes.Contains(scope, StringComparer.Ordinal)
            ? null
            : new ApiProblem(StatusCodes.Status403Forbidden, "scope_missing", $"This needs the scope '{scope}'; the key '{found.Id}' has: {string.Join(", ", found.Scopes)}. Add the scope to the key in cdp.yaml, or use another key.");
    }
}
