// Timeline rows from targets. Exceptions can be asked to come first; nothing is left out.
import type { Target } from "../bindings";
import type { Row } from "../parts/Timeline.svelte";
import { targetDetail, targetMark, targetName } from "./sentences";

export function timelineRows(targets: readonly Target[]): Row[] {
  return targets.map((target, i) => ({
    id: `${i}-${target.kind}-${target.name}`,
    name: targetName(target),
    detail: targetDetail(target),
    ...targetMark(target),
  }));
}

/** What is not verified first, otherwise in the given order. */
export function exceptionsFirst(targets: readonly Target[]): Target[] {
  const verified = (target: Target) => target.outcome === "verified";
  return [...targets.filter((target) => !verified(target)), ...targets.filter(verified)];
}
