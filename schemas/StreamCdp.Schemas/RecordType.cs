using System.Diagnostics.CodeAnalysis;

namespace StreamCdp.Schemas;

/// <summary>The records of the logs. The number is the schema id where there is no registry; it never changes.</summary>
[SuppressMessage("Design", "CA1008:Enums should have zero value", Justification = "0 is no schema id.")]
public enum RecordType
{
    /// <summary><see cref="Schemas.CustomerEvent"/>.</summary>
    CustomerEvent = 1,

    /// <summary><see cref="Schemas.IdentityLink"/>.</summary>
    IdentityLink = 2,

    /// <summary><see cref="Schemas.IdentityDecision"/>.</summary>
    IdentityDecision = 3,

    /// <summary><see cref="Schemas.ProfileEvent"/>.</summary>
    ProfileEvent = 4,

    /// <summary><see cref="Schemas.SegmentMembership"/>.</summary>
    SegmentMembership = 5,

    /// <summary><see cref="Schemas.Profile"/>.</summary>
    Profile = 6,

    /// <summary><see cref="Schemas.DeadLetter"/>.</summary>
    DeadLetter = 7,

    /// <summary><see cref="Schemas.ModelRecord"/>.</summary>
    ModelRecord = 8,
}
