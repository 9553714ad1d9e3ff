// What a program in TypeScript would write; the compiler holds it against the generated types.
import type { components, paths } from "./generated";

type Body<P extends keyof paths> = paths[P] extends {
  post: { requestBody: { content: { "application/json": infer T } } };
}
  ? T
  : never;
type Schemas = components["schemas"];

export const order: Body<"/auth/generate"> = { prompt: "sun", width: 220, height: 200, steps: 30, seed: "7" };
export const byIds: Body<"/auth/user/deleteImages"> = { ids: [9] };
export const byUrls: Body<"/auth/user/deleteImages"> = { urls: ["http://localhost:8080/images/a.png"] };
// @ts-expect-error a body of neither kind
export const byNothing: Body<"/auth/user/deleteImages"> = { names: ["sun"] };

export function told(job: Schemas["JobOnWire"], change: Schemas["ChangeOnWire"]): string {
  switch (job.status) {
    case "queued":
    case "running":
      return `job ${job.id}: ${job.progress}`;
    case "succeeded":
      return `job ${job.id} made image ${job.image_id}`;
    case "failed":
    case "cancelled":
      return job.reason ?? "";
  }
  // Only if every state was handled is nothing left here.
  const none: never = job.status;
  return `${none}${change.status === "held" ? change.generation_id : ""}`;
}

export function frames(
  stream: paths["/auth/generations/{generation}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"],
): string[] {
  return stream.split("\n\n");
}
