"""Opens reports in headless Chromium and uses them as a reader would.

check_report.py KIND=FILE...
  detection  a detection's report with everything in it: click, arrow keys, tables, charts
  plain      one of which little is known
  study      a study's report
  many       the page of many images
  training   a training's report
  ended      that of a training that has ended
  lost       that of a training that has not been heard of for long

None may complain or ask for anything; those of kind detection, plain, training, study and many are also looked at in light and dark and at the width
of a telephone. With EELSVAE_SCREENSHOTS=FOLDER pictures of these are left there. Exit status 77 if Selenium or
Chromium is missing.
"""
import base64
import json
import os
import pathlib
import shutil
import sys
import time

try:
    from selenium import webdriver
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
chromium, driver_file = shutil.which("chromium"), shutil.which("chromedriver")
if not chromium or not driver_file:
    print("skipped: no Chromium, or no driver of it")
    sys.exit(77)


def start():
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--window-size=1400,1000", "--force-device-scale-factor=1", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.chrome.service.Service(driver_file)
    return webdriver.Chrome(service=service, options=options)


class Page:
    def __init__(self, driver, path):
        self.driver, self.path = driver, pathlib.Path(path).resolve()
        self.url = self.path.as_uri()
        self.emulate("light", 1400, 1000)
        driver.get(self.url)
        driver.execute_cdp_cmd("Page.stopLoading", {})  # and loading anew

    def emulate(self, scheme, width, height):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                    {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": height, "deviceScaleFactor": 1,
                                     "mobile": False})

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def data(self):
        """What the page draws, without the long arrays."""
        return self.script("""
            const data = JSON.parse(document.getElementById('report-data').textContent);
            delete data.spectra;
            delete data.scores;
            return data;""")

    def actions(self):
        return ActionChains(self.driver, duration=10)  # ms of every movement of the mouse

    def text(self, selector):
        return self.script("return document.querySelector(arguments[0])?.textContent ?? null", selector)

    def points(self, chart, line=0):
        """The points of a chart's line."""
        return self.script("return Chart.getChart(arguments[0])?.data.datasets[arguments[1]].data", chart, line)

    def colours(self, canvas):
        """How many colours a canvas shows."""
        return self.script("""
            const canvas = document.getElementById(arguments[0]);
            const copy = new OffscreenCanvas(canvas.width, canvas.height);  // to leave the page's own alone
            const context = copy.getContext('2d', {willReadFrequently: true});
            context.drawImage(canvas, 0, 0);
            const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
            return new Set(new Uint32Array(data.buffer)).size;""", canvas)

    def picture(self, canvas):
        return self.script("return document.getElementById(arguments[0]).toDataURL()", canvas)

    def wait(self, condition, message, seconds=5):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, message
            time.sleep(0.02)

    def click_map(self, y, x, rows, columns, name="map"):
        map_ = self.driver.find_element(By.ID, name)
        self.script("arguments[0].scrollIntoView({block: 'center'})", map_)
        box = self.script("const b = arguments[0].getBoundingClientRect(); return [b.width, b.height]", map_)
        # Offsets count from the middle.
        self.actions().move_to_element_with_offset(
            map_, round((x + 0.5) / columns * box[0] - box[0] / 2),
            round((y + 0.5) / rows * box[1] - box[1] / 2)).click().perform()

    def canvases(self):
        return self.script("return [...document.querySelectorAll('canvas[id]')].map((c) => c.id)")

    def check_everything_is_drawn(self):
        for canvas in self.canvases():
            least = 2 if canvas.startswith("map") else 4
            assert self.colours(canvas) >= least, f"{canvas} is blank"

    def check_width(self):
        wide = self.script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"the page is {wide} pixels wider than the screen"

    def screenshot(self, name):
        folder = os.environ.get("EELSVAE_SCREENSHOTS")
        if not folder:
            return
        time.sleep(1)  # what is drawn on a canvas reaches the screen some frames later
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", {})
        file = pathlib.Path(folder) / f"{self.path.stem}-{name}.png"
        file.write_bytes(base64.b64decode(picture["data"]))

    def check_appearance(self):
        backgrounds = []
        for scheme, width in (("light", 1400), ("dark", 1400), ("light", 420)):
            self.emulate(scheme, width, 1000)
            time.sleep(0.1)  # charts resize in the next frames
            height = self.script("return Math.ceil(document.documentElement.scrollHeight)")
            self.emulate(scheme, width, max(1000, height))
            time.sleep(0.2)
            self.check_everything_is_drawn()
            self.check_width()
            self.screenshot(f"{scheme}-{width}")
            backgrounds.append(self.script("return getComputedStyle(document.body).backgroundColor"))
        assert backgrounds[0] != backgrounds[1], "dark mode looks like light mode"
        self.emulate("light", 1400, 1000)

    def check_silence(self):
        complaints = [entry["message"] for entry in self.driver.get_log("browser")]
        assert not complaints, complaints
        asked = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.add(message["params"]["request"]["url"])
        outside = {url for url in asked if url != self.url and not url.startswith("data:")}
        assert self.url in asked and not outside, f"the page asked for {outside}"


def check_texts(page, data):
    assert page.driver.title == page.text("h1") == data["title"]
    assert (page.text(".headline") or "").replace("\u00a0", " ") == data.get("headline", "")
    assert page.text("pre") == data["configuration"]
    origin = page.script("return [...document.querySelectorAll('.origin span:not(#written)')].map((s) => s.textContent)")
    assert origin == (data["origin"] if isinstance(data["origin"], list) else [data["origin"]])
    made_with = page.script("return [...document.querySelectorAll('#versions tr')].map(\
        (row) => [...row.cells].map((cell) => cell.textContent))")
    assert made_with == data.get("versions", [])


def check_plain(page):
    check_texts(page, page.data())
    for part in ("#beside", "#regions", "#latent", "#metrics", "#training", "#versions", "#window-range", "#show-truth", ".band"):
        assert page.text(part) is None, f"there is no data for {part}"
    assert page.text("#ranking thead") == "rankyxscore"


def check_study(page):
    data = page.data()
    check_texts(page, data)
    assert page.script("return document.querySelectorAll('#tables table').length") == len(data["tables"]) > 5
    assert page.text("#tables thead") == "".join(data["tables"][0]["columns"])
    assert page.text("#tables tbody") == "".join("".join(row) for row in data["tables"][0]["rows"])
    for chart in ("shifts", "precision", "rates", "sweep"):
        assert len(page.points(chart)) > 0, chart
    before = page.picture("shifts")
    page.script("const menu = document.getElementById('injection'); menu.selectedIndex = 1;"
                "menu.dispatchEvent(new Event('change'))")
    assert page.picture("shifts") != before


def check_many(page):
    data = page.data()
    check_texts(page, data)
    names = "return [...document.querySelectorAll('#images tbody tr')].map((row) => row.cells[0].textContent)"
    assert page.script(names) == [row["name"] for row in data["rows"]]
    links = page.script("return [...document.querySelectorAll('#images a')].map((link) => link.getAttribute('href'))")
    assert links == [f"{row['name']}/report.html" for row in data["rows"] if row["state"] == "done"], links
    assert len(page.points("shares")) == len(links)
    page.script("const menu = document.getElementById('order'); menu.value = '1'; menu.dispatchEvent(new Event('change'))")
    assert page.script(names)[0] == max(data["rows"], key=lambda row: row["found"] or 0)["name"], page.script(names)
    failed = [row for row in data["rows"] if row["state"] == "failed"][0]
    assert failed["message"] in page.text("#images"), failed


def check_detection(page):
    data = page.data()
    rows, columns = data["rows"], data["columns"]
    strongest = data["ranking"][0]

    def heading(pixel):
        return f"Pixel y {pixel // columns}, x {pixel % columns}:"

    check_texts(page, data)
    assert page.script("return document.querySelectorAll('.subline:not(#stale)').length") == len(data["sublines"])
    assert page.text("#metrics").startswith("F1") and page.text("#show-truth") is not None
    assert page.text("#regions thead") == ("rankpixelsarea (nm\u00b2)y (nm)x (nm)highest scorelargest deviation"
                                           "near edges (eV)what changed")
    assert page.text("#ranking thead") == "rankyxscoretruth"
    assert page.text("#pixel").startswith(heading(strongest)), page.text("#pixel")
    assert len(page.points("spectrum")) == data["energy"]["size"]
    assert page.text("#region-note") is not None and page.text("#deviation").startswith("Deviates most by")
    assert len(page.points("histogram", 1)) > 10, "the null is not drawn"

    # Another pixel, by the mouse.
    before, drawn = page.points("spectrum"), page.picture("spectrum")
    target = (rows // 3) * columns + columns // 4
    assert target != strongest
    page.click_map(target // columns, target % columns, rows, columns)
    assert page.text("#pixel").startswith(heading(target)), page.text("#pixel")
    assert page.points("spectrum") != before and page.picture("spectrum") != drawn
    residual = page.points("residual")

    # The same on another expectation's map, and back.
    drawn = page.picture("beside-1")
    page.click_map(1, 2, rows, columns, "beside-1")
    assert page.text("#pixel").startswith(heading(columns + 2)), page.text("#pixel")
    page.click_map(target // columns, target % columns, rows, columns, "beside-0")
    assert page.text("#pixel").startswith(heading(target)), page.text("#pixel")
    assert [other["name"] for other in data["beside"]] == page.script(
        "return [...document.querySelectorAll('#beside strong')].map((s) => s.textContent)")
    page.driver.find_element(By.ID, "show-found").click()
    assert page.picture("beside-1") != drawn, "what the other one finds is not outlined"
    page.driver.find_element(By.ID, "show-found").click()
    assert page.picture("beside-1") == drawn

    # And by the arrow keys.
    map_ = page.driver.find_element(By.ID, "map")
    for key, pixel in ((Keys.ARROW_RIGHT, target + 1), (Keys.ARROW_DOWN, target + 1 + columns),
                       (Keys.ARROW_LEFT, target + columns), (Keys.ARROW_UP, target)):
        map_.send_keys(key)
        assert page.text("#pixel").startswith(heading(pixel)), page.text("#pixel")
    assert page.points("residual") == residual, "back at the same pixel"

    # An excluded pixel has no spectrum.
    excluded = page.script("""const flags = atob(arguments[0]);
        return [...flags].findIndex((c) => c.charCodeAt(0) & 4)""", data["flags"])
    page.click_map(excluded // columns, excluded % columns, rows, columns)
    assert "excluded" in page.text("#pixel") and page.points("spectrum") == []
    assert page.text("#deviation") == ""

    # A region's row.
    regions = data["regions"]["table"]
    drawn = page.picture("map")
    page.driver.find_elements(By.CSS_SELECTOR, "#regions tbody tr")[1].click()
    assert page.text("#pixel").startswith(heading(regions[1]["strongest"])), page.text("#pixel")
    assert "region 2" in page.text("#pixel") and page.picture("map") != drawn
    assert len(page.points("residual", 1)) > 1, "the region's mean deviation is not drawn"
    assert page.script("return document.querySelectorAll('#regions tr.selected').length") == 1
    page.actions().send_keys(Keys.ARROW_UP).perform()
    assert page.text("#pixel").startswith(heading(regions[0]["strongest"])), page.text("#pixel")

    # A tile in latent space.
    spot = page.script("""
        const chart = Chart.getChart('latent'), tile = chart.getDatasetMeta(0).data[0];
        const box = chart.canvas.getBoundingClientRect();
        chart.canvas.scrollIntoView({block: 'center'});
        return [tile.x - box.width / 2, tile.y - box.height / 2]""")
    drawn = page.picture("map")
    page.actions().move_to_element_with_offset(
        page.driver.find_element(By.ID, "latent"), round(spot[0]), round(spot[1])).click().perform()
    page.wait(lambda: page.picture("map") != drawn, "the tile is not marked")  # charts answer in the next frame

    # A row of the ranking, the further maps, the mean, the ranges of energy.
    page.driver.find_elements(By.CSS_SELECTOR, "#ranking tbody tr")[2].click()
    assert page.text("#pixel").startswith(heading(data["ranking"][2]))
    pictures = {page.picture("map")}
    for button in page.driver.find_elements(By.CSS_SELECTOR, "input[name=layer]"):
        button.click()
        pictures.add(page.picture("map"))
    assert len(pictures) == 1 + len(data["layers"]) == 3
    page.driver.find_element(By.CSS_SELECTOR, "input[name=layer]").click()
    page.driver.find_element(By.ID, "show-mean").click()
    page.driver.find_element(By.ID, "window-range").click()
    shown = page.script("const x = Chart.getChart('spectrum').scales.x; return [x.min, x.max]")
    assert shown[0] <= data["window"][0] and shown[1] >= data["window"][1] and shown[0] > data["energy"]["offset"]
    page.driver.find_element(By.ID, "whole-range").click()
    page.driver.find_elements(By.CSS_SELECTOR, "#regions tbody tr")[0].click()


def check_training(page):
    data = page.data()
    check_texts(page, data)
    epochs = len(data["history"])
    assert len(page.points("loss")) == epochs, page.points("loss")
    for chart in ("reconstruction", "kl", "rate", "norm", "active"):
        assert len(page.points(chart)) == epochs, chart
    refresh = page.script("return document.querySelector('meta[http-equiv=refresh]')?.content ?? null")
    assert (refresh is not None) == ("running" in page.text(".headline").lower()), refresh
    spectra = page.script("return document.querySelectorAll('.sample canvas').length")
    assert spectra == len(data["samples"]["pixels"]) == 6, spectra
    assert page.picture("map-observed") != page.picture("map-model")
    assert page.text("#stale") == ""


def check_lost(page):
    assert "may have ended" in page.text("#stale"), page.text("#stale")


def check_ended(page):
    page.check_everything_is_drawn()
    check_training(page)


driver = start()
try:
    for argument in sys.argv[1:]:
        kind, file = argument.split("=", 1)
        began = time.monotonic()
        page = Page(driver, file)
        if kind in ("detection", "plain", "training", "study", "many"):
            page.check_everything_is_drawn()
            page.check_appearance()
        {"detection": check_detection, "plain": check_plain, "study": check_study, "many": check_many,
         "training": check_training,
         "ended": check_ended, "lost": check_lost}[kind](page)
        page.check_silence()
        print(f"{file}: well after {time.monotonic() - began:.1f} s")
finally:
    driver.quit()
