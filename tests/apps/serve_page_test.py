"""The live page of eelsvae-serve in headless Chromium, while a scan runs, stands still, ends, and the service dies.

serve_page_test.py BUILD_FOLDER
With EELSVAE_SCREENSHOTS=FOLDER pictures are left there. Exit status 77 if Selenium, Chromium or pyzmq is missing.
"""
import http.client
import os
import shutil
import sys
import time
import urllib.parse

try:
    import zmq  # noqa: F401
    from selenium import webdriver
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
chromium, driver_file = shutil.which("chromium"), shutil.which("chromedriver")
if not chromium or not driver_file:
    print("skipped: no Chromium, or no driver of it")
    sys.exit(77)

from serve_tools import HEIGHT, ODD, START, WIDTH, Service, bound, row, until
from eelsvae_client import Refused, Scan

TITLE = "film <img src=x onerror=alert(1)> & more"


def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--window-size=1400,1300", "--force-device-scale-factor=1", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=webdriver.chrome.service.Service(driver_file), options=options)


class Page:
    def __init__(self, driver, url):
        self.driver = driver
        driver.get(url)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def text(self, name):
        return self.script("return document.getElementById(arguments[0]).textContent", name)

    def facts(self):
        """What came, by name."""
        return dict(self.script("""
            return [...document.querySelectorAll('#stream > div')].map(
                (box) => [box.querySelector('dt').textContent, box.querySelector('dd').textContent])"""))

    def row_colours(self, y):
        """The colours in the middle of the pixels of a row of the map, and on its upper edge."""
        return self.script("""
            const map = document.getElementById('map'), [y, rows, columns] = arguments;
            const side = map.height / rows, found = new Set();
            const copy = new OffscreenCanvas(map.width, map.height), context = copy.getContext('2d');
            context.drawImage(map, 0, 0);
            const data = context.getImageData(0, Math.round(y * side), map.width, Math.round(side)).data;
            for (let i = 0; i < data.length; i += 4) found.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
            return found.size""", y, HEIGHT, WIDTH)

    def picture(self, name):
        if folder := os.environ.get("EELSVAE_SCREENSHOTS"):
            self.driver.save_screenshot(os.path.join(folder, f"live-{name}.png"))

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]


def get(url, path="/", method="GET", **headers):
    parts = urllib.parse.urlparse(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


with Service(sys.argv[1], "--page", "0") as service:
    url = service.line("page at (\\S+)")[1]
    assert url.startswith("http://127.0.0.1:")
    # Names that lead here from elsewhere are not answered, nor is anything but a question.
    assert get(url)[0] == 200 and get(url, "/changes?since=-1")[0] == 200
    assert get(url, Host="example.org")[0] == 403
    assert get(url, "/changes?since=-1", Host=f"example.org:{urllib.parse.urlparse(url).port}")[0] == 403
    assert get(url, method="POST")[0] == 403
    assert get(url, "/../../etc/passwd")[0] == 404
    assert get(url, "/changes?since=" + "9" * 400)[0] == 200

    driver = browser()
    try:
        page = Page(driver, url)
        until(lambda: page.text("headline") == "No scan yet" and "eelsvae" in page.text("service"), 10, "the page without a scan")
        scan = Scan(service.address, title=TITLE, **START)
        for y in range(25):
            scan.send(y * WIDTH, row(y))
        scan.flush()
        until(lambda: page.text("headline").startswith("Row 25 of 40"), 10, "25 rows on the page")
        assert page.text("name") == TITLE, "a title is text"
        until(lambda: page.text("pixel").startswith("y 20, x 7"), 10, "the worst spectrum on the page")
        until(lambda: page.script("return Chart.getChart('spectrum').data.datasets[0].data.length") > 30, 5, "its spectrum")
        assert page.script("return Chart.getChart('spectrum').data.datasets[1].data.length") > 30
        assert page.script("return Chart.getChart('spectrum').data.datasets[0].data[0].x") >= 400
        facts = page.facts()
        assert facts["received"] == "1,250" and facts["missing"] == "0" and "threshold, provisional" in facts, facts
        assert facts["provisional score after"].endswith(" ms"), facts
        final = int(facts["final rows"])
        assert 0 < final < 25, facts
        until(lambda: page.row_colours(30) == 1, 5, "rows to come are grey")
        assert page.row_colours(5) > 3, "scores are drawn"
        # Hatched: more colours than pixels.
        assert page.row_colours(24) > page.row_colours(5), "provisional rows do not look other than final ones"
        page.picture("running")

        # What is in the table stays there while more comes: focus, and what is about to be clicked.
        page.script("document.querySelector('#worst tbody tr').focus(); document.activeElement.kept = true")

        # Later rows, one of which lacks a spectrum; the newest anomaly is another one than the worst.
        for y in range(25, 36):
            scan.send(y * WIDTH, row(y) if y != 28 else row(y)[:-START["channels"]])
        scan.flush()
        until(lambda: page.facts()["missing"] == "1", 5, "the missing spectrum on the page")
        find = """
            const rows = [...document.querySelectorAll('#worst tbody tr')];
            return rows.find((row) => row.cells[0].textContent == arguments[0] && row.cells[1].textContent == arguments[1])"""
        until(lambda: all(page.script(find, *odd) for odd in ODD), 5, "both in the list")
        assert page.script("return document.activeElement.kept") is True, "the focus is lost when more comes"
        page.script("document.getElementById('by-place').click()")
        until(lambda: int(page.text("pixel").split()[1].rstrip(",")) >= 33, 5, "the newest one first")
        page.script(find + ".click()", *ODD[0])
        until(lambda: page.text("pixel").startswith("y 20, x 7"), 5, "the one that was clicked")

        scan.close()
        took = until(lambda: "Nobody sends" in page.text("trouble"), 2.5, "the page says that nobody sends")
        print(f"the page says after {took:.2f} s that the sender is gone; bound {bound(2.5)}")
        page.picture("lost")
        with Scan(service.address, title=TITLE, series=scan.series, resume=True, **START) as scan:
            until(lambda: page.text("trouble") == "", 5, "the page says that somebody sends again")
            for y in range(36, HEIGHT):
                scan.send(y * WIDTH, row(y))
        until(lambda: page.text("headline").startswith("The scan has ended"), 5, "the end on the page")
        until(lambda: page.row_colours(39) > 3, 5, "the last row")
        assert "threshold" in page.facts() and page.facts()["final rows"] == "40"
        page.picture("ended")

        # Narrow, and dark.
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                               {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": False})
        until(lambda: page.script("return document.documentElement.scrollWidth") <= 390, 5, "the page fits a telephone")
        page.picture("narrow")
        assert page.complaints() == [], page.complaints()
        asked = [entry for entry in driver.get_log("performance") if '"Network.requestWillBeSent"' in entry["message"]]
        assert asked and all(url in entry["message"] or "data:" in entry["message"] for entry in asked), "the page asks elsewhere"

        service.kill()
        took = until(lambda: "The service has not answered" in page.text("trouble"), 2.5, "the page says that the service is gone")
        print(f"the page says after {took:.2f} s that the service is gone; bound {bound(2.5)}")
        page.picture("dead")

        # Another one has no scan.
        with Service(sys.argv[1], "--page", str(urllib.parse.urlparse(url).port)) as service:
            until(lambda: page.text("headline") == "No scan yet" and page.text("trouble") == "", 10, "the page of the next service")
            assert page.script("return document.querySelectorAll('#worst tbody tr').length") == 0
            assert page.script("return document.getElementById('map').width") == 1
            page.script("for (const id of ['by-score', 'by-place']) document.getElementById(id).click()")
            until(lambda: page.text("pixel").startswith("No spectrum"), 5, "nothing is selected")
            # Nothing can be learned of nothing.
            scan = Scan(service.address, **START)
            try:
                scan.end()
            except Refused:
                pass
            scan.close()
            until(lambda: "cannot be scored any further" in page.text("trouble"), 5, "the page says that the scan has failed")
            assert page.text("headline").startswith("The scan has failed"), page.text("headline")
            wrong = [line for line in page.complaints() if "ERR_CONNECTION" not in line]
            assert wrong == [], wrong
    finally:
        driver.quit()
print("passed")
