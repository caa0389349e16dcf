// Everything that the page says, in English and German. Without a service, `nameHere` is said instead of `name`.

import { server } from "./config.js";

const STRINGS = {
  title: ["Restore a photograph", "Ein Foto restaurieren"],
  about: [
    "Paint over the damage; the model repaints it and leaves every other pixel as it is.",
    "Übermalen Sie die Schäden; das Modell ergänzt sie und lässt jedes andere Pixel, wie es ist.",
  ],
  language: ["Language", "Sprache"],
  caution: [
    "The model invents what the damage hid. Never use a restored face to identify a person.",
    "Das Modell erfindet, was der Schaden verdeckt. Ein restauriertes Gesicht darf nie dazu dienen, jemanden zu erkennen.",
  ],
  photograph: ["Photograph", "Foto"],
  drop: ["Drop a photograph here", "Ein Foto hierher ziehen"],
  choose: ["Choose a photograph", "Foto auswählen"],
  camera: ["Take one", "Aufnehmen"],
  another: ["Another photograph", "Anderes Foto"],
  forget: ["Forget it", "Vergessen"],
  orPaste: [
    "or paste one. Nothing is sent before you ask for it; this browser keeps your work for a day.",
    "oder einfügen. Nichts wird gesendet, bevor Sie es wollen; dieser Browser behält Ihre Arbeit einen Tag lang.",
  ],
  orPasteHere: [
    "or paste one. Nothing leaves this device; this browser keeps your work for a day.",
    "oder einfügen. Nichts verlässt dieses Gerät; dieser Browser behält Ihre Arbeit einen Tag lang.",
  ],
  here: [
    "Restored in this browser: 8 bits a channel, without metadata (EXIF, colour profile), without grain and fine detail.",
    "In diesem Browser restauriert: 8 Bit je Kanal, ohne Metadaten (EXIF, Farbprofil), ohne Korn und Feinheiten.",
  ],
  soft: ["Colours of transparent pixels were rounded.", "Farben durchsichtiger Pixel wurden gerundet."],
  offline: ["It works without a network now.", "Ab jetzt geht es ohne Netz."],
  limitsHere: ["At most {pixels} megapixels.", "Höchstens {pixels} Megapixel."],
  limits: ["At most {pixels} megapixels and {bytes} MB.", "Höchstens {pixels} Megapixel und {bytes} MB."],
  token: ["This service asks for a token", "Dieser Dienst verlangt ein Token"],
  useToken: ["Use it", "Verwenden"],
  wrongToken: ["That token is not the right one.", "Dieses Token ist nicht das richtige."],
  unreachable: ["The service cannot be reached.", "Der Dienst ist nicht erreichbar."],
  needsHttps: ["Open this page by HTTPS, or on localhost.", "Bitte diese Seite über HTTPS oder auf localhost öffnen."],
  needsSimd: [
    "This browser cannot compute here: it lacks WebAssembly SIMD. Use a newer one.",
    "Dieser Browser kann hier nicht rechnen: Ihm fehlt WebAssembly SIMD. Bitte einen neueren verwenden.",
  ],
  fileMissing: ["{name} cannot be loaded. Try again, with a network.", "{name} lässt sich nicht laden. Bitte mit Netz noch einmal versuchen."],
  fileAltered: [
    "{name} is not the file that belongs here, and was not used. Whoever keeps this page has to write it anew.",
    "{name} ist nicht die Datei, die hierher gehört, und wurde nicht verwendet. Wer diese Seite anbietet, muss sie neu schreiben.",
  ],
  memoryOut: [
    "There is not enough memory. Your work is kept; close other pages, or make the photograph smaller.",
    "Der Speicher reicht nicht. Ihre Arbeit ist noch da; schließen Sie andere Seiten, oder verkleinern Sie das Foto.",
  ],
  maskWhole: ["The whole photograph is painted; leave something to restore from.", "Das ganze Foto ist übermalt; etwas muss übrig bleiben."],
  maskDense: ["Too little is left unpainted around the damage.", "Um die Schäden herum ist zu wenig unbemalt."],
  failedHere: ["This browser could not restore it: {why}", "Dieser Browser konnte es nicht restaurieren: {why}"],
  replace: ["Give up this photograph, with its mask and its result?", "Dieses Foto mit Maske und Ergebnis verwerfen?"],
  opened: ["Now paint over the damage.", "Jetzt die Schäden übermalen."],
  kept: ["Your work is back: {name}.", "Ihre Arbeit ist wieder da: {name}."],
  notKept: ["This browser keeps no work: a reload loses it.", "Dieser Browser behält keine Arbeit: Neu laden verliert sie."],
  cannotShow: ["{name} cannot be shown: it is damaged, or no image.", "{name} lässt sich nicht anzeigen: beschädigt oder kein Bild."],
  cannotShowKind: [
    "{name} cannot be shown: this browser reads no {kind}, or it is damaged. Save it as PNG, or use restore-sdk restore.",
    "{name} lässt sich nicht anzeigen: {kind} liest dieser Browser nicht, oder es ist beschädigt. Als PNG speichern oder restore-sdk restore verwenden.",
  ],
  tooManyPixels: [
    "{name} has {width} x {height} px, {has} megapixels; at most {most} are taken. Make it smaller first.",
    "{name} hat {width} x {height} px, {has} Megapixel; höchstens {most} gehen. Bitte erst verkleinern.",
  ],
  tooManyBytes: [
    "{name} has {has} MB; this service takes {most}. Save it smaller first.",
    "{name} hat {has} MB; dieser Dienst nimmt {most}. Bitte erst kleiner speichern.",
  ],
  thisFormat: ["this format", "dieses Format"],
  lostFormat: ["The service does not read {kind}.", "Der Dienst liest {kind} nicht."],
  lostPrint: ["It is CMYK, for print; its colours were estimated.", "Es ist CMYK, für den Druck; die Farben sind geschätzt."],
  lostFrames: ["It is animated; its first frame is taken.", "Es ist animiert; das erste Bild wird verwendet."],
  lostConverted: [
    "It was converted to PNG here, with 8 bits, without its metadata and colour profile.",
    "Es wurde hier in PNG umgewandelt, mit 8 Bit, ohne Metadaten und Farbprofil.",
  ],
  maskShape: [
    "{name} does not fit: it has {has} px, the photograph {wanted}. Its shape must be the same.",
    "{name} passt nicht: {has} px, das Foto {wanted}. Die Form muss gleich sein.",
  ],
  view: ["View", "Ansicht"],
  modePaint: ["Paint", "Malen"],
  modeSlider: ["Compare", "Vergleich"],
  modeSide: ["Side by side", "Beide"],
  stage: ["The photograph, to paint on", "Das Foto, zum Übermalen"],
  tool: ["Tool", "Werkzeug"],
  brush: ["Brush", "Pinsel"],
  eraser: ["Eraser", "Radierer"],
  line: ["Line", "Linie"],
  lasso: ["Lasso", "Lasso"],
  face: ["Face", "Gesicht"],
  move: ["Move", "Bewegen"],
  size: ["Size", "Größe"],
  undo: ["Undo", "Zurück"],
  redo: ["Redo", "Wieder"],
  clear: ["Clear", "Leeren"],
  zoomIn: ["Zoom in", "Vergrößern"],
  zoomOut: ["Zoom out", "Verkleinern"],
  fit: ["Fit", "Ganz"],
  bare: ["Hold to see it without paint", "Gedrückt halten: ohne Farbe"],
  mask: ["Mask", "Maske"],
  maskLoad: ["Load", "Laden"],
  maskSave: ["Save", "Speichern"],
  maskInvert: ["Invert", "Umkehren"],
  maskGrow: ["Grow", "Wachsen"],
  maskShrink: ["Shrink", "Schrumpfen"],
  maskBy: ["Pixels to grow or shrink by", "Um so viele Pixel wachsen oder schrumpfen"],
  maskDone: ["{share}% of the photograph is painted.", "{share} % des Fotos sind übermalt."],
  damage: ["Find damage", "Schäden finden"],
  sensitivity: ["How much is taken for damage", "Wie viel als Schaden gilt"],
  less: ["less", "weniger"],
  more: ["more", "mehr"],
  damageRuns: ["Looking for damage ...", "Schäden werden gesucht ..."],
  damageFound: ["Found: {share}% of the photograph. Correct it by hand.", "Gefunden: {share} % des Fotos. Bitte von Hand verbessern."],
  damageNone: ["No damage was found.", "Es wurden keine Schäden gefunden."],
  paint: ["Paint", "Farbe"],
  auto: ["Automatic", "Automatisch"],
  pink: ["Pink", "Rosa"],
  green: ["Green", "Grün"],
  blue: ["Blue", "Blau"],
  yellow: ["Yellow", "Gelb"],
  stripes: ["Stripes", "Streifen"],
  opacity: ["Opacity", "Deckkraft"],
  options: ["Options", "Optionen"],
  model: ["Model", "Modell"],
  modelDefault: ["like a photograph", "wie ein Foto"],
  modelFaithful: ["faithful", "getreu"],
  feather: ["Blend its border over", "Rand überblenden"],
  tiles: ["Tiles at most", "Höchstens Kacheln"],
  detail: ["Add grain and fine detail", "Korn und Feinheiten ergänzen"],
  forgetFaces: ["Forget {count} faces", "{count} Gesichter vergessen"],
  facesHelp: [
    "Faces are looked for. Where one comes out misplaced, mark them all (F): drag a box from forehead to chin.",
    "Gesichter werden gesucht. Sitzt eines schief, markieren Sie alle (F): je einen Kasten von Stirn bis Kinn ziehen.",
  ],
  keysTitle: ["Keys and gestures", "Tasten und Gesten"],
  keys: [
    "Wheel, two fingers, + and - zoom; 0 shows all, 1 is 100%; a double click goes between the two. Drag with Space held, the " +
      "middle button or two fingers to move; Alt with arrow keys. B, E, L, O, M take a tool; [ and ] change the size; Alt erases " +
      "while painting; H held hides the paint; Ctrl+Z takes back, Ctrl+Y brings back. Without a mouse: arrow keys move the brush, " +
      "with Shift further; Space dabs; Enter puts the tool down, and lifts it again; Escape gives it up.",
    "Rad, zwei Finger, + und - zoomen; 0 zeigt alles, 1 ist 100 %; Doppelklick wechselt. Verschieben: mit Leertaste, mittlerer Taste " +
      "oder zwei Fingern ziehen; Alt mit Pfeiltasten. B, E, L, O, M wählen ein Werkzeug; [ und ] die Größe; Alt radiert beim Malen; " +
      "H gedrückt verbirgt die Farbe; Strg+Z nimmt zurück, Strg+Y stellt wieder her. Ohne Maus: Pfeiltasten bewegen den Pinsel, mit " +
      "Umschalt weiter; Leertaste tupft; Enter setzt das Werkzeug auf und hebt es wieder ab; Escape bricht ab.",
  ],
  restore: ["Restore", "Restaurieren"],
  restoring: ["Restoring ...", "Wird restauriert ..."],
  tile: ["Restoring ... {tile} of {of}", "Wird restauriert ... {tile} von {of}"],
  cancel: ["Cancel", "Abbrechen"],
  cancelled: ["Cancelled.", "Abgebrochen."],
  restored: ["Restored in {seconds} s.", "Restauriert in {seconds} s."],
  share: ["How much of the photograph before is shown", "Wie viel vom Foto vorher zu sehen ist"],
  before: ["before", "vorher"],
  after: ["after", "nachher"],
  goOn: ["Continue from this result", "Mit diesem Ergebnis weiter"],
  goneOn: ["The result is the photograph now. Paint what is left.", "Das Ergebnis ist jetzt das Foto. Übermalen Sie, was bleibt."],
  download: ["Download", "Herunterladen"],
  format: ["Format", "Format"],
  lossless: ["{kind}, every pixel", "{kind}, jedes Pixel"],
  lossy: ["{kind}, smaller", "{kind}, kleiner"],
  asPhoto: ["{kind}, like yours", "{kind}, wie Ihres"],
  details: ["Details", "Details"],
  edges: ["The edges that the first stage completed", "Die Kanten, die die erste Stufe ergänzt hat"],
  edgesDownload: ["Download edges", "Kanten herunterladen"],
};

const LANGUAGES = ["en", "de"];

let language = 0;

// The text by its key, {name}s filled in.
export function t(key, values = {}) {
  const said = (!server && STRINGS[`${key}Here`]) || STRINGS[key];
  return said[language].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// The language that was chosen here, else the browser's.
export function chosenLanguage() {
  let wanted = null;
  try {
    wanted = localStorage.getItem("language");
  } catch {} // a browser may forbid it
  wanted ??= navigator.language.slice(0, 2);
  return LANGUAGES.includes(wanted) ? wanted : "en";
}

// Say everything in a language: text where `data-t` names it, names for screen readers where `data-label` does.
export function speak(wanted, chosen = false) {
  language = LANGUAGES.indexOf(wanted);
  try {
    if (chosen) localStorage.setItem("language", wanted);
  } catch {}
  document.documentElement.lang = wanted;
  document.title = t("title");
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
    element.title = element.matches("button") ? t(element.dataset.label) : "";
  }
}
