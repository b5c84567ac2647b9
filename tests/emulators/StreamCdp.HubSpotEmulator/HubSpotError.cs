using System.Text.Json.Nodes;

namespace StreamCdp.HubSpotEmulator;

/// <summary>An answer that is an error, as HubSpot writes it.</summary>
public sealed class HubSpotErrorException : Exception
{
    internal HubSpotErrorException(int status, string category, string message, JsonObject? context = null, string? subCategory = null)
        : base(message)
    {
        Status = status;
        Category = category;
        Context = context;
        SubCategory = subCategory;
    }

    public int Status { get; }

    public string Category { get; }

    internal JsonObject? Context { get; }

    internal string? SubCategory { get; }

    /// <summary>The whole batch is refused for this: the array of what is wrong stands as text inside the message.</summary>
    internal static HubSpotErrorException BadValues(IEnumerable<(string Name, string Error, string Message)> wrong)
    {
        var array = new JsonArray();
        foreach ((string name, string error, string message) in wrong)
        {
            array.Add(new JsonObject { ["isValid"] = false, ["message"] = message, ["error"] = error, ["name"] = name, ["localizedErrorMessage"] = message, ["portalId"] = HubSpotAccount.PortalId });
        }

        return new HubSpotErrorException(400, "VALIDATION_ERROR", "Property values were not valid: " + array.ToJsonString());
    }

    internal static HubSpotErrorException NotFound(string what) => new(404, "OBJECT_NOT_FOUND", what);

    internal JsonObject ToJson(string correlationId)
    {
        var json = new JsonObject { ["status"] = "error", ["message"] = Message, ["correlationId"] = correlationId, ["category"] = Category };
        if (SubCategory is not null)
        {
            json["subCategory"] = SubCategory;
        }

        if (Context is not null)
        {
            json["context"] = Context.DeepClone();
        }

        return json;
    }
}
