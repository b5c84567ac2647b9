using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Runtime;

/// <summary>The versions of the model in the log <c>models</c>, and the markers from which on stages use one. Safe for many threads.</summary>
internal sealed class ModelLog
{
    private readonly EngineLogs _logs;
    private readonly SchemaIds _schemas;
    private readonly ConcurrentDictionary<ulong, string> _texts = new();
    private readonly ConcurrentDictionary<ulong, CdpModel> _parsed = new();

    /// <summary>Reads the log.</summary>
    public ModelLog(EngineLogs logs, SchemaIds schemas)
    {
        (_logs, _schemas) = (logs, schemas);
        using ILogReader reader = logs.Models.OpenReader(0, 0);
        long end = logs.Models.EndOffset(0);
        while (reader.TryReadBefore(end, out LogRecord record))
        {
            if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && ModelRecord.TryRead(body, out ModelRecord saved)
                && ulong.TryParse(saved.Version, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong version))
            {
                _texts[version] = Encoding.UTF8.GetString(saved.Text);
                Last = version;
            }
        }
    }

    /// <summary>The newest version; null: there is none.</summary>
    public ulong? Last { get; private set; }

    /// <summary>A model with the segments that the API wrote into the newest one.</summary>
    /// <exception cref="InvalidDataException">They do not fit it; the message says what to do.</exception>
    public CdpModel WithApiSegments(CdpModel model)
    {
        List<ApiSegment> written = Last is { } last ? [.. Get(last).Segments.Where(segment => segment.IsOfApi).Select(segment => new ApiSegment(segment.Id, segment.Name, segment.When.ToString()!))] : [];
        if (written.Count == 0)
        {
            return model; // As it is, also where it does not come from a text.
        }

        (CdpModel? joined, string? error) = Join(model, written);
        return joined ?? throw new InvalidDataException($"Segments that the API wrote do not fit this cdp.yaml: {error} Start with the former cdp.yaml and delete or change them (DELETE or PUT /v1/segments/ID), or put back what they use.");
    }

    /// <summary>A model with these segments of the API in place of those that it has.</summary>
    public static (CdpModel? Model, string? Error) Join(CdpModel model, IReadOnlyList<ApiSegment> segments)
    {
        string text = ApiSegments.Join(ApiSegments.FileOf(model.Text), segments);
        ModelResult result = ModelReader.ReadPublished(text);
        return result.Model is { } read ? (model with { Text = read.Text, Version = read.Version, Segments = read.Segments }, null) : (null, result.Errors[0].Message + ".");
    }

    /// <summary>A model by its version.</summary>
    /// <exception cref="InvalidDataException">The log has none, or one that this version of StreamCdp cannot read.</exception>
    public CdpModel Get(ulong version) => _parsed.GetOrAdd(version, missing =>
    {
        ModelResult result = _texts.TryGetValue(missing, out string? text) ? ModelReader.ReadPublished(text) : throw new InvalidDataException($"The log models has no version {missing:x16}.");
        CdpModel read = result.Model ?? throw new InvalidDataException($"Version {missing:x16} in the log models cannot be read by this version of StreamCdp: {result.Errors[0]}");
        return read with { Version = missing }; // Texts that were written with their keys have another version than they would get today.
    });

    /// <summary>Appends a model where it is not the newest version already.</summary>
    public void Add(CdpModel model, long nowMs)
    {
        _parsed[model.Version] = model;
        if (Last == model.Version)
        {
            return;
        }

        byte[] buffer = new byte[1024];
        byte[] version = Encoding.UTF8.GetBytes(model.Version.ToString("x16", CultureInfo.InvariantCulture));
        var record = new ModelRecord { Version = version, Text = Encoding.UTF8.GetBytes(model.Text), At = nowMs };
        int end = record.WriteTo(ref buffer, WireFormat.WriteHeader(ref buffer, 0, _schemas[RecordType.ModelRecord]));
        using ILogWriter writer = _logs.Models.OpenWriter();
        writer.WaitDurable(writer.Append(0, version, buffer.AsSpan(0, end), nowMs));
        _texts[model.Version] = model.Text;
        Last = model.Version;
    }

    /// <summary>Tells the resolver, and every shard, which model counts from here. The same model again changes nothing.</summary>
    /// <param name="model">One that the log has.</param>
    /// <param name="toShards">False: a backfill tells them when it is done.</param>
    /// <param name="nowMs">Wall time.</param>
    public void Mark(CdpModel model, bool toShards, long nowMs)
    {
        byte[] buffer = new byte[1024];
        if (toShards)
        {
            using ILogWriter shards = _logs.ProfileEvents.OpenWriter();
            var marker = new ProfileEvent { Kind = ProfileEventKind.Model, Generation = (long)model.Version };
            int length = marker.WriteTo(ref buffer, WireFormat.WriteHeader(ref buffer, 0, _schemas[RecordType.ProfileEvent]));
            for (int shard = 0; shard < _logs.ProfileEvents.Partitions; shard++)
            {
                shards.Append(shard, default, buffer.AsSpan(0, length), nowMs);
            }

            shards.WaitDurable(shards.Appended);
        }

        using ILogWriter links = _logs.IdentityLinks.OpenWriter();
        var link = new IdentityLink { Kind = LinkKind.Model, ModelVersion = (long)model.Version };
        int end = link.WriteTo(ref buffer, WireFormat.WriteHeader(ref buffer, 0, _schemas[RecordType.IdentityLink]));
        links.WaitDurable(links.Append(0, "workspace"u8, buffer.AsSpan(0, end), nowMs));
    }
}
