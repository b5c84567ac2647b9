namespace StreamCdp.Connectors.Crm;

/// <summary>A kind of record, the same for all CRMs.</summary>
public enum CrmObject
{
    /// <summary>A person.</summary>
    Contact,

    /// <summary>A person who is not a customer yet, where the CRM keeps such people apart.</summary>
    Lead,

    /// <summary>An organisation.</summary>
    Company,

    /// <summary>A deal, opportunity.</summary>
    Deal,

    /// <summary>Something somebody did: a call, e-mail, meeting, note, task. One that an action of StreamCdp made carries <see cref="CrmRecord.ExternalId"/>, and is no news.</summary>
    Activity,
}
