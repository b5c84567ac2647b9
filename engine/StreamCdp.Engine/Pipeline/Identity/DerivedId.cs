using System.Buffers.Binary;
using System.Text;

namespace StreamCdp.Engine.Pipeline.Identity;

/// <summary>Canonical ids that need no question: of a lone anonymous id, and of a decision (adr/0006-derived-ids-for-lone-identifiers).</summary>
/// <remarks>A keyed hash, so that nobody outside can compute whose profile an id is. All instances of a workspace use the same key.</remarks>
internal sealed class DerivedId
{
    private readonly ulong _key0;
    private readonly ulong _key1;

    /// <param name="workspaceKey">Secret of the workspace; changing it changes every id that is still to be given.</param>
    public DerivedId(string workspaceKey)
    {
        UInt128 key = Hash128.Of(Encoding.UTF8.GetBytes(workspaceKey));
        _key0 = (ulong)key;
        _key1 = (ulong)(key >> 64);
    }

    /// <summary>Id of an identifier that no decision names.</summary>
    /// <param name="identifier"><see cref="Hash128.OfIdentifier"/> of it.</param>
    public UInt128 OfLone(UInt128 identifier)
    {
        Span<byte> bytes = stackalloc byte[17];
        bytes[0] = (byte)'a';
        BinaryPrimitives.WriteUInt128BigEndian(bytes[1..], identifier);
        return Hash128.Of(bytes, _key0, _key1);
    }

    /// <summary>Id of a profile that a decision makes: of the decision, never of an identifier, so that a split can take any identifier away.</summary>
    /// <param name="linkOffset">Offset of the link that was decided on.</param>
    public UInt128 OfDecision(long linkOffset)
    {
        Span<byte> bytes = stackalloc byte[9];
        bytes[0] = (byte)'d';
        BinaryPrimitives.WriteInt64BigEndian(bytes[1..], linkOffset);
        return Hash128.Of(bytes, _key0, _key1);
    }
}
