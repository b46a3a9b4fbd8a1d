// Chains to begin with. All of them work with provider "echo" and nothing but this server.

export const examples = [
  {
    name: "Two steps",
    body: {
      context: "Waystation keeps every result on disk before the next step relies on it.",
      instructions: ["Summarise this in one sentence.", "Translate it into French."],
    },
  },
  {
    name: "A condition decides",
    body: {
      context: "The deployment ended with an error in the last stage.",
      instructions: [
        {
          instruction: "Repeat what happened.",
          condition: {
            mode: "deterministic",
            expression: "result contains 'error'",
            ifTrue: [1],
            ifFalse: [2],
          },
        },
        "Write a short note to the team on call.",
        "Write a short note of thanks.",
      ],
    },
  },
  {
    name: "Collect what several steps said",
    body: {
      context: "A bicycle for the city, for sale to commuters.",
      instructions: [
        "Name what speaks for it.",
        "Name what speaks against it.",
        { type: "thread", collectFromSteps: [1, 2], outputFormat: "markdown" },
      ],
    },
  },
  {
    name: "A router picks a source of data",
    body: {
      context: "Should I take an umbrella to Zurich?",
      instructions: [
        {
          type: "router",
          description: "Pick the source that answers the question",
          evaluationPrompt: "Which source is needed?",
          options: ["weather", "news", "finance"].map((name) => ({
            id: name,
            name: `Sample of ${name}`,
            description: `A fixed sample of ${name}`,
            endpoint: {
              endpointUrl: `${location.origin}/endpoint-1`,
              apiUrl: `${location.origin}/endpoint-1/mock/${name}`,
            },
          })),
          defaultOption: "weather",
        },
        "Answer the question from the data.",
      ],
    },
  },
];
