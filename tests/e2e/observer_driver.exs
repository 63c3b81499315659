# What the GUI test runs inside the node that shows Observer: finds windows and reads their texts through wx, as a user
# would with the eyes, and acts as the mouse does. Sent as text, since the node may live in another tree of files.
defmodule ObserverDriver do
  def env do
    send(:observer, {:get_debug_info, self()})

    receive do
      {:observer_debug, env, notebook, tab} ->
        :wx.set_env(env)
        {notebook, tab}
    after
      5000 -> exit(:observer_does_not_answer)
    end
  end

  def frame do
    {notebook, _} = env()
    top(notebook)
  end

  defp top(window) do
    parent = :wxWindow.getParent(window)
    if :wx.is_null(parent), do: window, else: top(parent)
  end

  # Chooses an entry of a menu of the main window by its texts, as a click does; fails when it is not there.
  def menu(menu, item) do
    bar = :wx.typeCast(frame(), :wxFrame) |> :wxFrame.getMenuBar()
    id = :wxMenuBar.findMenuItem(bar, to_charlist(menu), to_charlist(item))
    if id < 0, do: exit({:no_such_entry, menu, item, labels(bar)})
    send(:observer, {:wx, id, [], [], {:wxCommand, :command_menu_selected, [], 0, 0}})
    id
  end

  defp labels(bar) do
    for i <- 0..(:wxMenuBar.getMenuCount(bar) - 1) do
      items = :wxMenuBar.getMenu(bar, i) |> :wxMenu.getMenuItems()
      {:wxMenuBar.getMenuLabel(bar, i), Enum.map(items, &:wxMenuItem.getItemLabelText/1)}
    end
  end

  def tabs do
    {notebook, _} = env()
    for i <- 0..(:wxNotebook.getPageCount(notebook) - 1), do: to_string(:wxNotebook.getPageText(notebook, i))
  end

  def tab(name) do
    {notebook, _} = env()
    :wxNotebook.setSelection(notebook, Enum.find_index(tabs(), &(&1 == name)))
    settle()
    elem(env(), 1)
  end

  # The events of what was done before have been handled.
  def settle do
    {_, tab} = env()
    :sys.get_state(tab)
    :ok
  end

  # Everything that is to be drawn has been: the window is invalid once more, and wx has come around to it. The tab is
  # not asked: it may be busy with what the picture shows.
  def paint do
    window = frame()
    for _ <- 1..3 do
      :wxWindow.refresh(window)
      :wxWindow.update(window)
      Process.sleep(100)
    end
  end

  # Every text of the window and what is in it.
  def texts(window) do
    own = own_texts(:wxWindow.getName(window), window)
    below = if :wxWindow.isShown(window), do: Enum.flat_map(:wxWindow.getChildren(window), &texts/1), else: []
    own ++ below
  end

  defp own_texts('listCtrl', w), do: rows(w)
  defp own_texts('htmlWindow', w), do: [to_string(:wxHtmlWindow.toText(:wx.typeCast(w, :wxHtmlWindow)))]

  defp own_texts('listBox', w) do
    box = :wx.typeCast(w, :wxListBox)
    n = :wxControlWithItems.getCount(box)
    for i <- Enum.take(0..n, n), do: to_string(:wxControlWithItems.getString(box, i))
  end

  defp own_texts(_, w), do: [to_string(:wxWindow.getLabel(w))]

  # The rows of a list as texts, columns apart by " | ", its head first.
  def rows(list) do
    grid = :wx.typeCast(list, :wxListCtrl)
    columns = Enum.to_list(0..(:wxListCtrl.getColumnCount(grid) - 1))
    item = :wxListItem.new()

    head =
      for c <- columns do
        :wxListItem.setMask(item, 2)
        :wxListCtrl.getColumn(grid, c, item)
        to_string(:wxListItem.getText(item))
      end

    n = min(:wxListCtrl.getItemCount(grid), 200)
    body = for r <- Enum.take(0..n, n), do: for(c <- columns, do: to_string(:wxListCtrl.getItemText(grid, r, col: c)))
    Enum.map([head | body], &Enum.join(&1, " | "))
  end

  def all_texts, do: texts(frame())

  # Windows of their own: processes, tables.
  def top_windows, do: tops(frame())

  defp tops(window) do
    Enum.flat_map(:wxWindow.getChildren(window), fn w ->
      if(:wxWindow.isTopLevel(w) and :wxWindow.isShown(w), do: [w], else: []) ++ tops(w)
    end)
  end

  def title(window), do: to_string(:wxWindow.getLabel(window))

  def list(window) do
    if :wxWindow.getName(window) == 'listCtrl',
      do: [window],
      else: if(:wxWindow.isShown(window), do: Enum.flat_map(:wxWindow.getChildren(window), &list/1), else: [])
  end

  # Closes them all; the windows of processes and tables ask nothing back.
  def close_windows, do: for(w <- top_windows(), do: :wxWindow.close(w))

  # Where on the screen that row of a list is: of the active tab, or of the window.
  def row_position(pattern, window \\ nil) do
    {notebook, _} = env()
    [list | _] = list(window || :wxNotebook.getCurrentPage(notebook))
    grid = :wx.typeCast(list, :wxListCtrl)
    at = Enum.find_index(rows(list), &(&1 =~ pattern)) - 1
    :wxListCtrl.ensureVisible(grid, at)
    {x, y, _, h} = rect(:wxListCtrl.getItemRect(grid, at))
    :wxWindow.clientToScreen(grid, {x + 60, y + div(h, 2)})
  end

  # OTP 25 gives the rectangle, OTP 27 says first that there is one.
  defp rect({true, r}), do: r
  defp rect(r), do: r

  # Clicks twice on the head of the first column: rows stay where they are while others come and go below.
  def sort_by_pid, do: for(_ <- 1..2, do: sort(0))

  # A click on the head of a column of the active tab's list.
  def sort(column) do
    {_, tab} = env()
    send(tab, list_event(:command_list_col_click, 0, column))
    settle()
  end

  # Clicks on the first column's head until the oldest process is on top: rows below come and go, those on top stay.
  def sort_oldest_first(tries \\ 4) do
    {notebook, _} = env()
    [list | _] = list(:wxNotebook.getCurrentPage(notebook))
    ids = for row <- tl(rows(list)), [_, id, age] <- [Regex.run(~r/^<\d+\.(\d+)\.(\d+)>/, row)], do: {String.to_integer(age), String.to_integer(id)}
    if tries > 0 and ids != [] and hd(ids) > List.last(ids), do: sort(0) && Process.sleep(100) && sort_oldest_first(tries - 1)
  end

  # A click on each head of the lists in the windows of tables; how many lists that were.
  def sort_tables do
    for p <- workers(:observer_tv_table), c <- [0, 1, 0] do
      send(p, list_event(:command_list_col_click, 0, c))
      :sys.get_state(p)
    end
    |> length()
  end

  # A double click on the first row that matches: focus, then activation, as wx tells a tab of both.
  def open_row(pattern) do
    {notebook, tab} = env()
    [list | _] = list(:wxNotebook.getCurrentPage(notebook))
    at = Enum.find_index(rows(list), &(&1 =~ pattern)) - 1
    events = if :wxNotebook.getPageText(notebook, :wxNotebook.getSelection(notebook)) == 'Processes', do: [:command_list_item_focused], else: []
    for type <- events ++ [:command_list_item_activated], do: send(tab, list_event(type, at, 0))
    settle()
  end

  defp list_event(type, row, column), do: {:wx, 0, [], [], {:wxList, type, 0, 0, row, column, {0, 0}}}

  # A double click on the box of the application's tree with that text, once it is drawn.
  def open_box(pattern), do: click_box(pattern, [:left_down, :left_dclick])

  # Chooses that box and File, Send Msg; writes the message, presses OK.
  def send_message(pattern, text) do
    click_box(pattern, [:left_down])
    menu("File", "Send Msg")
    dialog = dialog(~r/./)
    :wxTextEntryDialog.setValue(:wx.typeCast(dialog, :wxTextEntryDialog), to_charlist(text))
    :wxDialog.endModal(:wx.typeCast(dialog, :wxDialog), 5100)
    settle()
  end

  defp click_box(pattern, clicks, tries \\ 100) do
    {_, tab} = env()
    tuples = nested(:sys.get_state(tab))
    view = Enum.find(tuples, &(elem(&1, 0) == :state and tuple_size(&1) > 8)) |> elem(4)
    case for {:box, x, y, w, h, {:str, _, _, text, _}} <- tuples, to_string(text) =~ pattern, do: {round(x + w / 2), round(y + h / 2)} do
      [{x, y} | _] ->
        for type <- clicks,
          do: send(tab, {:wx, 0, view, [], {:wxMouse, type, x, y, true, false, false, false, false, false, false, 0, 0, 0}})
        settle()

      [] when tries > 0 ->
        Process.sleep(50) && click_box(pattern, clicks, tries - 1)
    end
  end

  # Every tuple in a term.
  defp nested(t) when is_tuple(t), do: [t | nested(Tuple.to_list(t))]
  defp nested([h | t]), do: nested(h) ++ nested(t)
  defp nested(_), do: []

  # Opens the dialog of the tab's refresh or of its graph, moves each slider as near to the value as it goes, presses OK.
  def change_interval(entry, value) do
    menu("View", entry)
    dialog = dialog(~r/^(Update Interval|Load Chart Settings)$/)
    for slider <- named(dialog, 'slider') do
      s = :wx.typeCast(slider, :wxSlider)
      :wxSlider.setValue(s, value |> max(:wxSlider.getMin(s)) |> min(:wxSlider.getMax(s)))
    end
    :wxDialog.endModal(:wx.typeCast(dialog, :wxDialog), 5100)
    settle()
  end

  defp dialog(title, tries \\ 100) do
    case for w <- top_windows(), title(w) =~ title, do: w do
      [w | _] -> w
      [] when tries > 0 -> Process.sleep(50) && dialog(title, tries - 1)
      [] -> exit({:no_dialog, Enum.map(top_windows(), &title/1)})
    end
  end

  defp named(window, name) do
    own = if :wxWindow.getName(window) == name, do: [window], else: []
    own ++ Enum.flat_map(:wxWindow.getChildren(window), &named(&1, name))
  end

  defp workers(module), do: for(p <- Process.list(), {^module, _, _} <- [:proc_lib.translate_initial_call(p)], do: p)

  # The processes of the main window and its tabs: they live as long as Observer.
  def tab_processes do
    for p <- Process.list(), {m, _, _} <- [:proc_lib.translate_initial_call(p)], to_string(m) =~ ~r/^observer_.*wx$/, do: "#{m} #{inspect(p)}"
  end

  # From now on errors that this node logs are kept.
  def keep_errors do
    here = self()
    spawn(fn ->
      :ets.new(:observer_errors, [:named_table, :public, :ordered_set])
      send(here, :ready)
      Process.sleep(:infinity)
    end)
    receive(do: (:ready -> :logger.add_handler(:observer_errors, __MODULE__, %{level: :error})))
  end

  # What texts/1 reads may go meanwhile: wx complains of that, and it is not Observer's doing.
  def log(event, _) do
    text = inspect(event.msg)
    text =~ ~r/invalid item index in GetItem|GetString.. : wrong listbox index/ || :ets.insert(:observer_errors, {System.unique_integer([:monotonic]), text})
  end

  def errors, do: for({_, text} <- :ets.tab2list(:observer_errors), do: text)

  # Turns to a page of the notebook of a window of its own.
  def page(window, name) do
    notebook = pages(window)
    at = Enum.find(0..(:wxNotebook.getPageCount(notebook) - 1), &(:wxNotebook.getPageText(notebook, &1) == to_charlist(name)))
    :wxNotebook.setSelection(notebook, at)
    texts(:wxNotebook.getCurrentPage(notebook))
  end

  # The texts of a window of its own; of every page where it has some, after refreshing it.
  def all_pages(window) do
    if named(window, 'notebook') == [], do: texts(window), else: refreshed_pages(window)
  end

  defp refreshed_pages(window) do
    notebook = pages(window)
    for p <- workers(:observer_procinfo), do: send(p, {:wx, refresh_id(window), [], [], {:wxCommand, :command_menu_selected, [], 0, 0}})
    for at <- 0..(:wxNotebook.getPageCount(notebook) - 1) do
      :wxNotebook.setSelection(notebook, at)
      texts(:wxNotebook.getCurrentPage(notebook))
    end
    |> List.flatten()
  end

  defp refresh_id(window) do
    :wxFrame.getMenuBar(:wx.typeCast(window, :wxFrame)) |> :wxMenuBar.findMenuItem('View', 'Refresh')
  end

  defp pages(window), do: hd(named(window, 'notebook')) |> :wx.typeCast(:wxNotebook)

  # Where on the screen the middle of the button with that text is, in the window on top that has one.
  def button_position(text) do
    [button | _] = Enum.flat_map(Enum.reverse(top_windows()) ++ [frame()], &labelled(&1, to_charlist(text)))
    {w, h} = :wxWindow.getSize(button)
    :wxWindow.clientToScreen(button, {div(w, 2), div(h, 2)})
  end

  defp labelled(window, text) do
    found = Enum.reject(:wxWindow.getLabel(window), &(&1 == ?&)) == text
    below = if :wxWindow.isShown(window), do: Enum.flat_map(:wxWindow.getChildren(window), &labelled(&1, text)), else: []
    if(found, do: [window], else: []) ++ below
  end
end
