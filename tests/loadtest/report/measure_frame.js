// Writes what a page looks like in its frame into the attribute data-found, for tests.
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument;
  const root = page.documentElement;
  const gaps = [...page.querySelectorAll("article, header.top")].map((each) => {
    const before = each.previousElementSibling;
    return before ? each.getBoundingClientRect().top - before.getBoundingClientRect().bottom : Infinity;
  });
  // Relative luminance and contrast as WCAG 2.2 defines them.
  const channels = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const rgb = channels(page.defaultView.getComputedStyle(at).backgroundColor);
      if (rgb.length === 3 || rgb[3] === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const contrasts = [];
  for (const each of page.querySelectorAll("main *")) {
    const own = [...each.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    if (!own.length) continue;
    const [a, b] = [light(channels(page.defaultView.getComputedStyle(each).color)), light(behind(each))];
    contrasts.push([own[0].textContent.trim().slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  document.body.dataset.found = JSON.stringify({
    dark: page.defaultView.matchMedia("(prefers-color-scheme: dark)").matches,
    width: root.scrollWidth,
    drawn: Number(root.dataset.drawn),
    gaps: gaps.map((gap) => (gap === Infinity ? 1e9 : gap)),
    contrasts,
  });
});
