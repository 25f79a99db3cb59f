"""Drives the page in headless Chromium: page_program.py URL FOLDER; prints what it saw as JSON, screenshots go to FOLDER."""
import json
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

URL, FOLDER = sys.argv[1], Path(sys.argv[2])
CHROMIUM = sys.argv[3]
PHONE = {"width": 390, "height": 780}
DONE = ".turn.assistant:last-child .tools button"
MARKDOWN = "Explain quantum computing."


def ask(page, text):
    page.fill("#text", text)
    page.keyboard.press("Enter")


def wait_for_answers(page, n):
    page.wait_for_selector(f":nth-match(.turn.assistant .tools button, {n})")
    page.wait_for_selector("#stop", state="hidden")


def conversation(page, seen):
    ask(page, MARKDOWN)
    wait_for_answers(page, 1)
    seen["answer"] = page.inner_text(".turn.assistant .body")
    seen["told"] = page.inner_text(".turn.assistant .tools")
    seen["folded"] = page.get_attribute(".turn.assistant details", "open") is None
    page.click("summary")
    seen["thoughts"] = page.inner_text(".turn.assistant details")
    page.screenshot(path=FOLDER / "light.png")
    ask(page, "What is a monsoon?")
    wait_for_answers(page, 2)
    seen["second"] = page.inner_text(":nth-match(.turn.assistant .tools, 2)")
    page.wait_for_function("document.querySelector('#live').textContent.includes('GB/s')")
    seen["live"] = page.inner_text("#live")


def editing(page, seen):
    page.click(":nth-match(.turn.user .tools button, 2)")
    seen["edited"] = page.input_value("#text")
    seen["turns after edit"] = page.locator(".turn").count()
    page.fill("#text", "Count to a thousand, please, and slowly.")
    # The answer may be done before anybody looks: the page itself notes that it could be stopped.
    page.evaluate("""() => {
      const stop = document.querySelector("#stop");
      new MutationObserver(() => { window.couldStop ||= !stop.hidden; }).observe(stop, {attributes: true});
    }""")
    page.keyboard.press("Enter")
    page.wait_for_function("window.couldStop")
    page.wait_for_selector(".turn.assistant:last-child .body > *")
    page.keyboard.press("Escape")
    page.wait_for_selector("#stop", state="hidden")
    wait_for_answers(page, 2)
    page.click(DONE)  # Retry
    wait_for_answers(page, 2)
    seen["turns after retry"] = page.locator(".turn").count()


def chats(page, seen):
    page.keyboard.press("Alt+n")
    seen["turns of a new chat"] = page.locator(".turn").count()
    ask(page, "<b>&amp; <script>document.title = 'mark'</script> Hello")
    wait_for_answers(page, 1)
    seen["user text"] = page.inner_text(".turn.user .body")
    page.reload()
    page.wait_for_selector(".turn.assistant")
    seen["chats after reload"] = page.locator("#chats > div").count()
    page.click("#chats > div:nth-child(2) > button:first-child")
    seen["first question"] = page.inner_text(".turn.user .body")
    seen["title"] = page.title()


def tables(page, seen):
    text = "| a | b | c | d |\n|---|:--|:-:|--:|\n| **1** | 2 | 3 | 4 |"
    seen["alignment"] = page.evaluate("""async (text) => {
      const [table] = (await import("/markdown.js")).markdown(text);
      return [...table.rows[1].cells].map((cell) => cell.style.textAlign);
    }""", text)


def main():
    seen = {"complaints": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light")
        page = context.new_page()
        page.set_default_timeout(280_000)
        page.on("pageerror", lambda error: seen["complaints"].append(str(error)))
        page.on("console", lambda line: seen["complaints"].append(line.text) if line.type == "error" else None)
        page.goto(URL)
        conversation(page, seen)
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=FOLDER / "dark.png")
        editing(page, seen)
        chats(page, seen)
        tables(page, seen)
        page.set_viewport_size(PHONE)
        page.screenshot(path=FOLDER / "phone.png")
        # Nothing is wider than the screen.
        seen["phone widths"] = [page.locator(part).bounding_box()["width"] for part in ("body", "#turns", "#ask")]
        page.click("#menu")
        seen["menu"] = page.is_visible("#chats")
        page.screenshot(path=FOLDER / "phone-chats.png")
        page.mouse.click(PHONE["width"] - 20, PHONE["height"] / 2)
        seen["menu closed"] = page.is_hidden("#chats")
        browser.close()
    print(json.dumps(seen))


main()
