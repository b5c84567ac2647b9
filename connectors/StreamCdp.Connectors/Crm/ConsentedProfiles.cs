using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Crm;

/// <summary>The engine as a CRM with a purpose sees it: of people without consent there is nothing to tell, and what was told is taken back.</summary>
/// <remarks>No segments, so no contact is made and lists are left; no computed traits, and nothing for fields that only go out, so those are emptied where they were filled. What both sides share stays as the CRM has it.</remarks>
internal sealed class ConsentedProfiles(IProfiles all, ConsentDefinition consent) : IProfiles, IDisposable
{
    private static readonly JsonElement s_nothing = JsonElement.Parse("{}"u8);

    /// <inheritdoc/>
    public bool TryAppend(ReadOnlySpan<byte> payload, DateTimeOffset at) => all.TryAppend(payload, at);

    /// <inheritdoc/>
    public ValueTask AppliedAsync(CancellationToken cancellationToken) => all.AppliedAsync(cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<ProfileView?> FindAsync(string type, string value, CancellationToken cancellationToken)
    {
        ProfileView? view = await all.FindAsync(type, value, cancellationToken).ConfigureAwait(false);
        return view is null || view.Value(consent.Path).ValueKind == JsonValueKind.True ? view : view with { HasConsent = false, Segments = [], Computed = s_nothing };
    }

    /// <inheritdoc/>
    public void Dispose() => (all as IDisposable)?.Dispose();
}
