using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>Events of a shop as the web SDK sends them, and what must come out of them, computed while they are made and by other code than the engine's.</summary>
/// <remarks>
/// People by Zipf 0.99; 5 % identify (links the device to the user), 1 % late by two days, 0.5 % sent twice; a person may change to a new, anonymous device.
/// A device's events carry the userId from its first identify on. Time goes 4 ms an event, from a given start.
/// </remarks>
internal sealed class Workload : IDisposable
{
    private const int MaxDevices = 20;
    private const int StepMs = 4;
    private const long LateMs = 2 * 24 * 3600 * 1000L;
    private const int Remembered = 1024;

    private static readonly string[] s_agents =
    [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:133.0) Gecko/20100101 Firefox/133.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    ];

    private static readonly string[] s_countries = ["DE", "FR", "AT", "US", "GB", "ES"];
    private static readonly string[] s_categories = ["shoes", "shirts", "bags", "coats", "toys"];
    private static readonly string[] s_campaigns = ["spring", "newsletter", "brand"];

    private readonly SeededChoice _choice;
    private readonly Zipf? _zipf;
    private readonly long _startMs;
    private readonly Person[] _people;
    private readonly List<Device> _devices = [];
    private readonly ArrayBufferWriter<byte> _json = new(2048);
    private readonly Utf8JsonWriter _writer;
    private readonly (byte[] Payload, byte[] MessageId, byte[] Key)[] _recent = new (byte[], byte[], byte[])[Remembered];
    private byte[] _record = new byte[2048];
    private int _length;
    private int _made;
    private int _turn;

    /// <param name="people">How many there are to choose from.</param>
    /// <param name="seed">The same seed and start make the same events.</param>
    /// <param name="startMs">Receive time of the first event.</param>
    /// <param name="inTurn">Every person once, then every person again, in place of Zipf.</param>
    public Workload(int people, ulong seed, long startMs, bool inTurn = false)
    {
        _choice = new SeededChoice(seed);
        _zipf = inTurn ? null : new Zipf(people, 0.99);
        _startMs = startMs;
        _people = new Person[people];
        _writer = new Utf8JsonWriter(_json, new JsonWriterOptions { SkipValidation = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
    }

    /// <summary>The record: wire format and body.</summary>
    public ReadOnlySpan<byte> Record => _record.AsSpan(0, _length);

    /// <summary>Key of the record: the sender.</summary>
    public byte[] Key { get; private set; } = [];

    /// <summary>Receive time, Unix ms.</summary>
    public long ReceivedAt { get; private set; }

    /// <summary>Bytes of all payloads.</summary>
    public long PayloadBytes { get; private set; }

    /// <summary>Events that repeat an earlier one.</summary>
    public int Repeats { get; private set; }

    /// <summary>Makes the next event.</summary>
    public void Next()
    {
        ReceivedAt = _startMs + ((long)_made * StepMs);
        if (_made >= Remembered && _choice.Chance(0.005))
        {
            Repeats++;
            (byte[] payload, byte[] messageId, byte[] key) = _recent[_choice.Below(Remembered)];
            Key = key;
            Write(payload, messageId);
            _made++;
            return;
        }

        int number = _zipf is null ? _turn++ % _people.Length : _zipf.Next(_choice);
        Person person = _people[number] ??= NewPerson();
        if (person.Devices < MaxDevices && _choice.Chance(0.01))
        {
            AddDevice(person);
        }

        Device device = person.Device;
        device.Events++;
        byte[] id = Encoding.UTF8.GetBytes($"m-{_choice.Next():x16}-{_made:x8}");
        MakePayload(person, device, number, id);
        Key = device.Key;
        byte[] made = _json.WrittenSpan.ToArray();
        _recent[_made % Remembered] = (made, id, device.Key);
        Write(made, id);
        _made++;
        if (_made < Remembered && _made == 1)
        {
            Array.Fill(_recent, _recent[0]);
        }
    }

    /// <summary>What the engine must say after all events so far.</summary>
    public Truth Truth()
    {
        var truth = new Truth { Applied = _made - Repeats, Repeats = Repeats };
        foreach (string segment in Bench.EndToEnd.Truth.Segments)
        {
            truth.Members[segment] = 0;
        }

        Dictionary<Person, Device> known = [];
        foreach (Device device in _devices)
        {
            if (device.Events == 0)
            {
                continue;
            }

            if (!device.Linked)
            {
                Count(truth, device, null);
            }
            else if (known.TryGetValue(device.Person, out Device? sum))
            {
                sum.Add(device);
            }
            else
            {
                known[device.Person] = sum = new Device { Person = device.Person };
                sum.Add(device);
            }
        }

        foreach ((Person person, Device sum) in known)
        {
            Count(truth, sum, person);
        }

        return truth;
    }

    public void Dispose() => _writer.Dispose();

    private static void Count(Truth truth, Device sum, Person? person)
    {
        truth.Profiles++;
        truth.Orders += sum.Orders;
        truth.RevenueCents += sum.RevenueCents;
        truth.Members["new_visitors"] += person is null && sum.Orders == 0 ? 1 : 0;
        truth.Members["mobile_buyers"] += sum.MobileOrders > 0 ? 1 : 0;
        if (person is null)
        {
            return;
        }

        bool big = sum.RevenueCents >= 50_000 && (person.Country is "DE" or "FR" or "AT");
        truth.Members["big_spenders"] += big ? 1 : 0;
        truth.Members["vip"] += big && (person.IsPro || sum.RevenueCents > 15_000L * sum.Orders) ? 1 : 0;
        truth.Members["reachable_bargain_hunters"] += sum.Orders > 0 && sum.MaxCents < 3_000 && sum.MinDiscount > 0 && sum.Items <= 2L * sum.Orders ? 1 : 0;
    }

    private Person NewPerson()
    {
        var person = new Person { Country = s_countries[_choice.Below(s_countries.Length)], IsPro = _choice.Chance(0.2), IsThrifty = _choice.Chance(0.2) };
        AddDevice(person);
        return person;
    }

    private void AddDevice(Person person)
    {
        person.Devices++;
        byte[] id = Encoding.UTF8.GetBytes($"{_choice.Next():x16}-{_devices.Count:x8}");
        person.Device = new Device { Person = person, Id = id, Key = [.. "anonymous_id:"u8, .. id], Agent = s_agents[_choice.Below(s_agents.Length)] };
        _devices.Add(person.Device);
    }

    private void MakePayload(Person person, Device device, int number, byte[] messageId)
    {
        bool late = _choice.Chance(0.01);
        bool identify = _choice.Chance(0.05);
        double kind = _choice.Part();
        device.Linked |= identify;
        long sentAt = ReceivedAt - 20;
        _json.ResetWrittenCount();
        Utf8JsonWriter json = _writer;
        json.Reset();
        json.WriteStartObject();
        json.WriteString("messageId"u8, messageId);
        json.WriteString("timestamp"u8, Time(sentAt - 5 - (late ? LateMs : 0)));
        json.WriteString("sentAt"u8, Time(sentAt));
        json.WriteString("type"u8, identify ? "identify" : kind < 0.45 ? "page" : "track");
        json.WriteString("anonymousId"u8, device.Id);
        if (device.Linked)
        {
            json.WriteString("userId"u8, $"user-{number}");
        }

        if (identify)
        {
            json.WriteStartObject("traits"u8);
            json.WriteString("email"u8, $"Person.{number}@example.com");
            json.WriteString("firstName"u8, "Alex");
            json.WriteString("country"u8, person.Country);
            json.WriteString("plan"u8, person.IsPro ? "pro" : "free");
            json.WriteEndObject();
        }
        else if (kind < 0.45)
        {
            int page = _choice.Below(500);
            json.WriteString("name"u8, page % 3 == 0 ? "Home" : "Category");
            json.WriteStartObject("properties"u8);
            json.WriteString("url"u8, $"https://shop.example/c/{page}");
            json.WriteString("path"u8, $"/c/{page}");
            json.WriteString("title"u8, "Shop – warm coats for cold days");
            json.WriteString("referrer"u8, "https://search.example/");
            json.WriteEndObject();
        }
        else
        {
            Track(json, person, device, kind);
        }

        json.WriteStartObject("context"u8);
        json.WriteString("ip"u8, "203.0.113.7");
        json.WriteString("userAgent"u8, device.Agent);
        json.WriteString("locale"u8, "de-DE");
        json.WriteString("timezone"u8, "Europe/Berlin");
        json.WriteStartObject("library"u8);
        json.WriteString("name"u8, "analytics.js");
        json.WriteString("version"u8, "5.2.1");
        json.WriteEndObject();
        if (_choice.Chance(0.1))
        {
            json.WriteStartObject("campaign"u8);
            json.WriteString("name"u8, s_campaigns[_choice.Below(s_campaigns.Length)]);
            json.WriteString("source"u8, "ads");
            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.WriteEndObject();
        json.Flush();
    }

    private void Track(Utf8JsonWriter json, Person person, Device device, double kind)
    {
        int product = _choice.Below(2_000);
        json.WriteString("event"u8, kind < 0.85 ? "Product Viewed" : kind < 0.96 ? "Product Added" : "Order Completed");
        json.WriteStartObject("properties"u8);
        if (kind < 0.96)
        {
            json.WriteString("product_id"u8, $"p-{product}");
            json.WriteString("category"u8, s_categories[product % s_categories.Length]);
            json.WriteString("name"u8, "A warm coat");
            json.WriteNumber("price"u8, (500 + (product * 7)) / 100m);
        }
        else
        {
            int cents = person.IsThrifty ? 500 + _choice.Below(2_400) : 2_000 + _choice.Below(18_000);
            int discount = person.IsThrifty ? 100 + _choice.Below(200) : _choice.Below(3) * 100;
            int items = 1 + _choice.Below(3);
            json.WriteString("order_id"u8, $"o-{_made}");
            json.WriteNumber("revenue"u8, cents / 100m);
            json.WriteNumber("discount"u8, discount / 100m);
            json.WriteNumber("items"u8, items);
            json.WriteString("currency"u8, "EUR");
            device.Order(cents, discount, items);
        }

        json.WriteEndObject();
    }

    private static string Time(long ms) => DateTimeOffset.FromUnixTimeMilliseconds(ms).ToString("yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture);

    private void Write(byte[] payload, byte[] messageId)
    {
        PayloadBytes += payload.Length;
        _length = new CustomerEvent
        {
            MessageId = messageId,
            Type = ReadOnlySpan<byte>.Empty,
            Source = "web"u8,
            ReceivedAt = ReceivedAt,
            Payload = payload,
        }.WriteTo(ref _record, WireFormat.WriteHeader(ref _record, 0, SchemaIds.BuiltIn[RecordType.CustomerEvent]));
    }

    private sealed class Person
    {
        public required string Country { get; init; }

        public bool IsPro { get; init; }

        public bool IsThrifty { get; init; }

        public int Devices { get; set; }

        public Device Device { get; set; } = null!;
    }

    private sealed class Device
    {
        public required Person Person { get; init; }

        public byte[] Id { get; init; } = [];

        public byte[] Key { get; init; } = [];

        public string Agent { get; init; } = "";

        public bool Linked { get; set; }

        public int Events { get; set; }

        public int Orders { get; private set; }

        public int MobileOrders { get; private set; }

        public long RevenueCents { get; private set; }

        public int MaxCents { get; private set; }

        public int MinDiscount { get; private set; } = int.MaxValue;

        public int Items { get; private set; }

        public void Order(int cents, int discount, int items)
        {
            Orders++;
            MobileOrders += Agent.Contains("Mobile", StringComparison.Ordinal) ? 1 : 0;
            RevenueCents += cents;
            MaxCents = Math.Max(MaxCents, cents);
            MinDiscount = Math.Min(MinDiscount, discount);
            Items += items;
        }

        public void Add(Device other)
        {
            Events += other.Events;
            Orders += other.Orders;
            MobileOrders += other.MobileOrders;
            RevenueCents += other.RevenueCents;
            MaxCents = Math.Max(MaxCents, other.MaxCents);
            MinDiscount = Math.Min(MinDiscount, other.MinDiscount);
            Items += other.Items;
        }
    }
}
