using System.Globalization;
using System.Text;
using StreamCdp.Engine.Logs;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors;

/// <summary>A change with its place in the logs.</summary>
/// <param name="Change">A membership has no identifiers and fields yet: they are looked up when it is sent.</param>
/// <param name="Tail">Number of the reader it came from.</param>
/// <param name="Partition">Partition of the log.</param>
/// <param name="Offset">Offset in that partition.</param>
/// <param name="TimestampMs">When it came into the log, Unix ms.</param>
internal sealed record LoggedChange(ProfileChange Change, int Tail, int Partition, long Offset, long TimestampMs)
{
    /// <summary>Sent again from the dead letters: it moves no cursor.</summary>
    public bool IsReplay => Tail < 0;
}

/// <summary>Reads what a destination gets from all partitions of memberships and profiles, in each partition's order, without repeats.</summary>
/// <remarks>Before its cursor it reads as many records as it remembers profiles, without handing them out: so it knows after a restart what came before.</remarks>
internal sealed class ChangeReader : IDisposable
{
    private readonly DestinationSettings _settings;
    private readonly List<Tail> _tails = [];
    private readonly ILog _memberships;
    private readonly ILog _profiles;
    private int _next;

    /// <summary>Opens all readers.</summary>
    /// <exception cref="LogBehindException">A log lost what was sent already.</exception>
    public ChangeReader(ILog memberships, ILog profiles, DestinationSettings settings, DestinationCursor cursor, WorkSignal? signal, LogPositions? until = null)
    {
        _settings = settings;
        Until = until;
        _memberships = memberships;
        _profiles = profiles;
        if (settings.SendsMemberships)
        {
            Open(memberships, cursor.Memberships, until?.Memberships, isMemberships: true, signal);
        }

        Open(profiles, cursor.Profiles, until?.Profiles, isMemberships: false, signal); // Merges stand there, also for those who get memberships alone.
    }

    /// <summary>What stands from here on is not handed out; null: all is.</summary>
    public LogPositions? Until { get; }

    /// <summary>All that stands before <see cref="Until"/> was read.</summary>
    public bool IsAtEnd => _tails.TrueForAll(tail => tail.IsDone);

    /// <summary>Records that were not read yet.</summary>
    public long UnreadRecords => _tails.Sum(tail => Math.Max(0, tail.Log.EndOffset(tail.Partition) - tail.Reader.Position));

    /// <summary>Takes the next change, without waiting; false at the end of all.</summary>
    public bool TryRead(out LoggedChange change)
    {
        for (int misses = 0; misses < _tails.Count;)
        {
            Tail tail = _tails[_next];
            if (tail.IsDone || !tail.Reader.TryRead(out LogRecord record))
            {
                _next = (_next + 1) % _tails.Count;
                misses++;
                continue;
            }

            misses = 0;
            if (record.Offset >= tail.Until)
            {
                tail.IsPast = true; // The log is compacted: what stood before is gone, and this one is for the next reader.
                continue;
            }

            if (TryDecode(tail, record, out ProfileChange? decoded) && record.Offset >= tail.From)
            {
                change = new LoggedChange(decoded, _next, tail.Partition, record.Offset, record.TimestampMs);
                _next = (_next + 1) % _tails.Count;
                return true;
            }
        }

        change = null!;
        return false;
    }

    /// <summary>Where a restart goes on, when those of <paramref name="pending"/> are not done.</summary>
    public DestinationCursor Cursor(IEnumerable<LoggedChange> pending, string? paused)
    {
        long[] memberships = new long[_memberships.Partitions];
        long[] profiles = new long[_profiles.Partitions];
        foreach (Tail tail in _tails)
        {
            Of(tail)[tail.Partition] = Math.Max(tail.From, Math.Min(tail.Until, tail.Reader.Position));
        }

        foreach (LoggedChange change in pending)
        {
            if (!change.IsReplay)
            {
                long[] offsets = Of(_tails[change.Tail]);
                offsets[change.Partition] = Math.Min(offsets[change.Partition], change.Offset);
            }
        }

        return new DestinationCursor(memberships, profiles, paused);

        long[] Of(Tail tail) => tail.IsMemberships ? memberships : profiles;
    }

    /// <inheritdoc/>
    public void Dispose() => _tails.ForEach(tail => tail.Reader.Dispose());

    private void Open(ILog log, IReadOnlyList<long> offsets, IReadOnlyList<long>? ends, bool isMemberships, WorkSignal? signal)
    {
        for (int partition = 0; partition < log.Partitions; partition++)
        {
            long from = DestinationCursor.At(offsets, partition);
            log.OpenReader(partition, from).Dispose(); // Throws where the log ends before what was sent: reading from further back would not notice.
            long before = Math.Max(log.BeginOffset(partition), from - _settings.RememberedProfiles);
            _tails.Add(new Tail(log, log.OpenReader(partition, Math.Min(before, from), signal), partition, from, isMemberships, new RecentVersions(_settings.RememberedProfiles), ends is null ? long.MaxValue : DestinationCursor.At(ends, partition)));
        }
    }

    private bool TryDecode(Tail tail, in LogRecord record, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out ProfileChange? change)
    {
        change = null;
        if (record.Value.IsEmpty)
        {
            return false;
        }

        return tail.IsMemberships ? TryMembership(tail, record.Value, out change) : TryProfile(tail, record.Value, out change);
    }

    private bool TryMembership(Tail tail, ReadOnlySpan<byte> value, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out ProfileChange? change)
    {
        change = null;
        if (!WireFormat.TryRead(value, out _, out ReadOnlySpan<byte> body) || !SegmentMembership.TryRead(body, out SegmentMembership membership))
        {
            return false;
        }

        string segment = Encoding.UTF8.GetString(membership.Segment);
        if ((_settings.Segments is not null && !_settings.Segments.Contains(segment)) || !tail.Seen.IsNews(membership.ProfileId, membership.Version))
        {
            return false;
        }

        change = new ProfileChange
        {
            Kind = membership.Change == MembershipChange.Entered ? ChangeKind.Entered : ChangeKind.Exited,
            ProfileId = ProfileView.Text(membership.ProfileId),
            Version = membership.Version,
            At = ProfileView.Time(membership.At),
            Segment = segment,
            SegmentVersion = Encoding.UTF8.GetString(membership.SegmentVersion),
            Cause = membership.Cause.IsEmpty ? null : Encoding.UTF8.GetString(membership.Cause),
            Reason = membership.Reason.ToString().ToLowerInvariant(),
            Backfill = membership.Backfill,
        };
        return true;
    }

    private bool TryProfile(Tail tail, ReadOnlySpan<byte> value, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out ProfileChange? change)
    {
        change = null;
        bool readsLiving = _settings.SendsProfiles || _settings.Consent is not null; // A consent that is given or taken back stands in the profile.
        if (!readsLiving && IsLivingProfile(value))
        {
            return false;
        }

        if (ProfileView.FromLog(value) is not { } view || !UInt128.TryParse(view.Id, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out UInt128 id)
            || (view.MergedInto is null && !readsLiving) || !tail.Seen.IsNews(id, view.Version))
        {
            return false;
        }

        change = Of(view, _settings);
        return true;
    }

    /// <summary>The change that a profile's record is.</summary>
    internal static ProfileChange Of(ProfileView view, DestinationSettings settings)
    {
        bool isMerged = view.MergedInto is not null;
        bool isWhole = !isMerged && settings.Fields.Count == 0;
        return new ProfileChange
        {
            Kind = isMerged ? ChangeKind.Merged : ChangeKind.Profile,
            ProfileId = view.Id,
            Version = view.Version,
            At = view.UpdatedAt,
            MergedInto = view.MergedInto,
            Identifiers = view.Identifiers,
            Segments = isMerged ? null : [.. view.Segments.Where(segment => settings.Segments?.Contains(segment) != false)],
            Fields = isMerged ? null : view.Fields(settings.Fields),
            Traits = isWhole ? view.Traits : null,
            Computed = isWhole ? view.Computed : null,
        };
    }

    /// <summary>An Avro record that is no redirect, found out without decoding all of it.</summary>
    private static bool IsLivingProfile(ReadOnlySpan<byte> value) =>
        WireFormat.TryRead(value, out _, out ReadOnlySpan<byte> body) && Profile.TryRead(body, out Profile profile) && profile.MergedInto is null;

    private sealed record Tail(ILog Log, ILogReader Reader, int Partition, long From, bool IsMemberships, RecentVersions Seen, long Until)
    {
        /// <summary>It has read a record from behind <see cref="Until"/>.</summary>
        public bool IsPast { get; set; }

        public bool IsDone => IsPast || From >= Until || Reader.Position >= Until;
    }
}
