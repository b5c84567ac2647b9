namespace StreamCdp.Engine.Model;

/// <summary>Which way changes of a mapped field go.</summary>
public enum SyncDirection
{
    /// <summary>Both ways.</summary>
    Both,

    /// <summary>From the CRM to the profile.</summary>
    In,

    /// <summary>From the profile to the CRM.</summary>
    Out,
}

/// <summary>Who wins where both sides changed a field since they agreed.</summary>
public enum SyncPolicy
{
    /// <summary>The CRM: a person typed it. The default.</summary>
    CrmWins,

    /// <summary>The profile.</summary>
    StreamCdpWins,

    /// <summary>What was written later.</summary>
    Newest,

    /// <summary>An empty side is filled; what is filled stays on both.</summary>
    FillEmpty,
}
