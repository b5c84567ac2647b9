namespace StreamCdp.Connectors.Tryton;

/// <summary>Where a Tryton is, and who talks to it.</summary>
public sealed record TrytonOptions
{
    /// <summary>The database's address, for example <c>https://erp.example.com/crm/</c>; a missing slash at the end is added.</summary>
    public required Uri Url { get; init; }

    /// <summary>Login of a user made for StreamCdp alone, with the groups Party Administration, Sales and Sale Opportunity.</summary>
    public required string User { get; init; }

    /// <summary>Its password.</summary>
    public required string Password { get; init; }

    /// <summary>http is allowed beyond this machine.</summary>
    public bool AllowsHttp { get; init; }

    /// <summary>How long a request may take. 1 s to 5 min, default 30 s.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Rows of a page of changes. 1 to 1000, default 200.</summary>
    public int PageSize { get; init; } = 200;

    /// <summary>Notes at parties and opportunities are read. Default no: they cost a request with every look for changes.</summary>
    public bool ReadsNotes { get; init; }

    /// <summary>Every broken rule; empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (Engine.Model.DestinationDefinition.UrlError(Url.OriginalString, AllowsHttp) is { } error)
        {
            yield return error;
        }

        if (User.Length == 0 || Password.Length == 0)
        {
            yield return "user and secret are needed: a login of Tryton and the environment variable with its password";
        }

        if (Timeout < TimeSpan.FromSeconds(1) || Timeout > TimeSpan.FromMinutes(5))
        {
            yield return $"timeout is {Timeout.TotalSeconds} s; allowed are 1 s to 5 min";
        }

        if (PageSize is < 1 or > 1000)
        {
            yield return $"page size is {PageSize}; allowed are 1 to 1000";
        }
    }
}
