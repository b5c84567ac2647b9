using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;

namespace StreamCdp.Engine.Tests.Segments;

/// <summary>A profile with the engine under test.</summary>
internal sealed class Person
{
    private readonly JsonPathScanner _scanner;
    private readonly JsonSlice[] _slots;
    private byte[] _record = [];

    public Person(SegmentEngine engine)
    {
        Engine = engine;
        _scanner = new JsonPathScanner(engine.EventPaths);
        _slots = new JsonSlice[Math.Max(1, _scanner.SlotCount)];
        Profile.Reset(1);
    }

    public Person(CdpModel model)
        : this(new SegmentEngine(model))
    {
    }

    public SegmentEngine Engine { get; }

    public ProfileState Profile { get; } = new();

    public Person Apply(PersonEvent e)
    {
        Apply(e.Type, new EventOrder(e.TimeMs, e.Offset, e.Partition), e.Payload(), Encoding.UTF8.GetBytes(e.Name));
        return this;
    }

    public void Apply(EventType type, EventOrder order, ReadOnlySpan<byte> payload, ReadOnlySpan<byte> name)
    {
        Assert.True(_scanner.Scan(payload, _slots));
        Engine.Apply(Profile, new EventView { Payload = payload, Slots = _slots, Type = type, Name = name, Order = order });
    }

    /// <summary>What becomes of it between two events: written and read.</summary>
    public void Store()
    {
        int length = Profile.Write(ref _record);
        Profile.Read(Profile.Id, _record.AsSpan(0, length));
    }

    public Person Trait(string name, string json)
    {
        Slice value = Profile.Add(Encoding.UTF8.GetBytes(json));
        int index = Profile.IndexOfTrait(Encoding.UTF8.GetBytes(name));
        if (index < 0)
        {
            Profile.AddTrait(Encoding.UTF8.GetBytes(name)).Value = value;
        }
        else
        {
            Profile.Traits[index].Value = value;
        }

        return this;
    }

    public Person Identifier(string type, string value)
    {
        Profile.AddIdentifier(Encoding.UTF8.GetBytes(type), Encoding.UTF8.GetBytes(value), "web"u8);
        return this;
    }

    public JsonElement Computed(long nowMs) => Written(writer => Engine.WriteComputed(writer, Profile, nowMs));

    public JsonElement Computed(string name, long nowMs) => Computed(nowMs).GetProperty(name);

    /// <summary>The changes, as "+id" and "-id".</summary>
    public string[] Evaluate(long nowMs)
    {
        SegmentChanges changes = default;
        Engine.Evaluate(Profile, nowMs, ref changes);
        return [.. changes.Items.ToArray().Select(change => (change.Entered ? "+" : "-") + Engine.Segments[change.Segment].Id)];
    }

    public bool IsIn(string segment) => Profile.IsMember(Engine.SegmentKey(Engine.SegmentIndex(segment)), out _);

    public static JsonElement Written(Action<Utf8JsonWriter> write)
    {
        var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            write(writer);
        }

        return JsonDocument.Parse(buffer.ToArray()).RootElement;
    }
}
