using System.Text;

namespace StreamCdp.Engine.Model;

/// <summary>Takes the secrets out of a model's text before it goes into a log: keys written into cdp.yaml instead of <c>env:NAME</c>.</summary>
/// <remarks>
/// A word with a number (equal keys are refused, and the text is read again) and no hash: a short key could be found again from its hash. So changing nothing but a key makes
/// no new version, which is right: a version says what is computed, and keys take no part in that. Redacting twice changes nothing more. Comments are not looked at.
/// </remarks>
internal static class ModelSecrets
{
    /// <summary>What stands in place of a secret, with its number.</summary>
    private const string Word = "redacted-";

    private static readonly string[] s_sections = ["sources", "api_keys", "destinations"];
    private static readonly string[] s_keys = ["write_key", "key", "secret", "password", "token", "api_key", "access_token", "refresh_token", "client_secret", "private_key"];

    /// <summary>The text without secrets; the same text where it has none.</summary>
    public static string Redact(string text, YamlMap root)
    {
        var secrets = new List<YamlScalar>();
        foreach ((YamlScalar key, YamlNode value) in root.Entries)
        {
            if (s_sections.Contains(key.Value))
            {
                Find(value, secrets);
            }
        }

        if (secrets.Count == 0)
        {
            return text;
        }

        var redacted = new StringBuilder(text.Length);
        int at = 0;
        for (int i = 0; i < secrets.Count; i++) // In the text's order.
        {
            YamlScalar secret = secrets[i];
            int end = Math.Min(secret.End, text.Length);
            int last = secret.Offset + text.AsSpan(secret.Offset, end - secret.Offset).TrimEnd().Length; // A block's last line break stays: what follows stands on a line of its own.
            redacted.Append(text, at, secret.Offset - at).Append(Word).Append(i + 1);
            at = last;
        }

        return redacted.Append(text, at, text.Length - at).ToString();
    }

    private static void Find(YamlNode node, List<YamlScalar> secrets)
    {
        switch (node)
        {
            case YamlList list:
                foreach (YamlNode item in list.Items)
                {
                    Find(item, secrets);
                }

                break;
            case YamlMap map:
                foreach ((YamlScalar key, YamlNode value) in map.Entries)
                {
                    if (value is YamlScalar scalar && s_keys.Contains(key.Value))
                    {
                        if (!scalar.IsNull && !scalar.Value.StartsWith("env:", StringComparison.Ordinal))
                        {
                            secrets.Add(scalar);
                        }
                    }
                    else
                    {
                        Find(value, secrets);
                    }
                }

                break;
        }
    }
}
