// The outcome glyphs: which shape and which colour each word has. Draws nothing itself.
export type GlyphName =
  | "requested"
  | "delivered"
  | "fenced"
  | "contained"
  | "verified"
  | "refused"
  | "until"
  | "partial"
  | "residual"
  | "unreachable"
  | "unknown"
  | "working";

export type Tone = "action" | "verified" | "unknown" | "residual";

const TONES: Record<GlyphName, Tone> = {
  requested: "action",
  delivered: "action",
  fenced: "action",
  contained: "action",
  working: "action",
  verified: "verified",
  refused: "unknown",
  until: "unknown",
  partial: "unknown",
  unreachable: "unknown",
  unknown: "unknown",
  residual: "residual",
};

/** The colour of a glyph and of the word beside it. */
export function tone(name: GlyphName): Tone {
  return TONES[name];
}
